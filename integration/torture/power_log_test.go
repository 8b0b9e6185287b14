package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/judge"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// TestPowerLossTakesTheLog: the log that the file input reads is on the disk that loses power, and its program syncs it seldom. So what
// has been read and stored may be gone from the log after a loss, or be other bytes, and the program goes on behind what is left. What it
// had synced is in the queue all the same, in order; it may be there again, but nothing of any other input is.
func TestPowerLossTakesTheLog(t *testing.T) {
	need(t, disk.Available())
	seed, left := judge.Seed(), by(3, 30, 200)
	t.Logf("%s=%d", judge.SeedVariable, seed)
	rows, all, doubled := map[string]*row{}, total{}, uint64(0)
	for n := uint64(0); left > 0 && !t.Failed(); n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newSiteWith(t, seed+n, small, "logs")
			t.Cleanup(s.keep)
			in := min(left, 3+s.r.IntN(12))
			left -= in
			s.begin()
			s.noPower()
			s.losses(in, rows)
			v := s.judged()
			for i, f := range v.Findings {
				if f.Destination != "archive" {
					continue
				}
				for _, place := range f.Doubled.Where {
					if !strings.Contains(place, ": log from ") {
						t.Errorf("the archive has records twice that are not of the log:\n%s", v)
					}
				}
				doubled += f.Doubled.Count
				v.Findings[i].Doubled = judge.Tally{}
			}
			all.add(s, v)
		})
	}
	tried := uint64(0)
	for _, r := range rows {
		tried += r.tried
	}
	reliability.Add(t, reliability.Row{Part: reliability.Power, Fault: "power lost under a log that is being written", Kind: "input file", Tried: tried,
		Lost: all.verdict.Lost.Count, Altered: all.verdict.Altered.Count, Invented: all.verdict.Invented.Count, Doubled: doubled,
		Back: worst(all.ready), Outcome: "what was synced of the log is in the queue, in order; what comes again had been read of a log whose end was lost"})
}

// neighbour starts the program whose log is on the disk.
func (s *site) neighbour() {
	s.t.Helper()
	must(s.t, os.Mkdir(filepath.Dir(s.log), 0o700))
	must(s.t, os.WriteFile(s.log, nil, 0o600))
	must(s.t, s.disk.Crash(disk.Keep, 0)) // so that the log is durable
	s.http.again, s.tcp.again = "J log ", "J log "
	p := &neighbour{name: s.log, source: s.Judge.Source("log"), r: s.Judge.Rand("program"), debris: &s.debris}
	stop := rig.Background(s.t, p.run)
	s.stops = append(s.stops, func() { must(s.t, stop()) })
}

// neighbour is a program whose log is on the disk that loses power. What it has synced is owed; of the rest any part may be left, and
// what is left may be no line that it ever wrote. It goes on behind that when the disk is back.
type neighbour struct {
	name   string
	source *judge.Source
	r      *rand.Rand

	file    *os.File
	synced  int64    // so many bytes are durable
	pending [][]byte // lines written since
	first   uint64   // of them
	debris  *debris
}

func (p *neighbour) run(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if p.file == nil || p.step() != nil {
			p.recover() // fails as long as the disk is away
		}
		select {
		case <-ctx.Done():
			return p.finish()
		case <-tick.C:
		}
	}
}

// step writes a line and syncs at times.
func (p *neighbour) step() error {
	line, number := p.source.Append(nil, 60+p.r.IntN(200))
	line = append(line, '\n')
	if len(p.pending) == 0 {
		p.first = number
	}
	p.pending = append(p.pending, line)
	if _, err := p.file.Write(line); err != nil {
		return err
	}
	if p.r.IntN(12) > 0 {
		return nil
	}
	return p.sync()
}

func (p *neighbour) sync() error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	for _, line := range p.pending {
		p.synced += int64(len(line))
	}
	if len(p.pending) > 0 {
		p.source.Acknowledged(p.first, p.first+uint64(len(p.pending))-1)
	}
	p.pending = p.pending[:0]
	return nil
}

// recover opens the log again and takes what a power loss has left of its end as it is.
func (p *neighbour) recover() {
	if p.file != nil {
		_ = p.file.Close() // it is on a disk that is gone
		p.file = nil
	}
	f, err := os.OpenFile(p.name, os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	left, err := io.ReadAll(io.NewSectionReader(f, p.synced, 1<<30))
	if err != nil {
		_ = f.Close()
		return
	}
	if len(left) > 0 && left[len(left)-1] != '\n' {
		left = append(left, '\n')
		_, err = f.Write([]byte{'\n'})
	}
	if err = errors.Join(err, f.Sync()); err != nil {
		_ = f.Close()
		return
	}
	p.debris.add(left, p.pending)
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return
	}
	p.file, p.synced, p.pending = f, info.Size(), p.pending[:0]
}

// finish waits until all that was written is durable.
func (p *neighbour) finish() error {
	return rig.Wait(rig.Patience, "the log is synced", func() bool {
		if p.file == nil || p.sync() != nil {
			p.recover()
			return false
		}
		return true
	})
}

// debris are lines that nobody wrote: what a power loss has left of some. They are records like others, and not judged.
type debris struct {
	mu    sync.Mutex
	lines map[string]bool
}

// add takes the lines of a text, without those that somebody did write.
func (d *debris) add(text []byte, written [][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lines == nil {
		d.lines = map[string]bool{}
	}
	rig.Lines(text, func(line []byte) {
		if slices.ContainsFunc(written, func(w []byte) bool { return bytes.Equal(w[:len(w)-1], line) }) {
			return
		}
		d.lines[string(line)] = true
		d.lines[string(bytes.TrimLeft(line, "\x00"))] = true // a hole is skipped
	})
}

// without passes on what is no debris.
func (d *debris) without(arrived func([]byte)) func([]byte) {
	return func(record []byte) {
		d.mu.Lock()
		is := d.lines[string(record)]
		d.mu.Unlock()
		if !is {
			arrived(record)
		}
	}
}
