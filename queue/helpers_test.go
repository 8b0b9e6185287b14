package queue

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

func isSeg(op faultfs.Op) bool { return strings.HasSuffix(op.Name, ".seg") }

func sourced(key, pos string, payloads ...string) segment.Run {
	r := linesRun(payloads...)
	r.Key, r.Position = []byte(key), []byte(pos)
	return r
}

// several is one Append that makes n frames.
func several(n int) []segment.Run {
	var runs []segment.Run
	for i := range n {
		runs = append(runs, linesRun(noise(uint64(i), 20000)))
	}
	return runs
}

func (b *bench) appendRun(r segment.Run) uint64 {
	b.Helper()
	last, err := b.q.Append(b.ctx, []segment.Run{r})
	if err == nil {
		err = b.q.WaitDurable(b.ctx, last)
	}
	if err != nil {
		b.Fatalf("append: %v", err)
	}
	return last
}

// checkpoint makes durable what r has done.
func (b *bench) checkpoint(r *Reader) {
	b.Helper()
	if err := r.Checkpoint(b.ctx); err != nil {
		b.Fatal(err)
	}
}

// refuse makes operations of these kinds on segments fail, until the value that it returns is false.
func (b *bench) refuse(err error, kinds ...faultfs.Kind) *atomic.Bool {
	return b.refuseIf(err, func(op faultfs.Op) bool { return isSeg(op) && slices.Contains(kinds, op.Kind) })
}

// refuseIf is refuse for operations that match.
func (b *bench) refuseIf(err error, match func(op faultfs.Op) bool) *atomic.Bool {
	on := new(atomic.Bool)
	on.Store(true)
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if on.Load() && match(op) {
			return err
		}
		return nil
	})
	return on
}

// overwrite damages the first segment.
func (b *bench) overwrite(with []byte, at int64) {
	b.Helper()
	list, err := b.fsys.ReadDir("/data/segments")
	if err != nil {
		b.Fatal(err)
	}
	f, err := b.fsys.OpenWrite(filepath.Join("/data/segments", list[0].Name()))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := f.WriteAt(with, at); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// overwriteAll clears a segment.
func (b *bench) overwriteAll(base string) {
	b.Helper()
	f, err := b.fsys.OpenWrite(filepath.Join("/data/segments", base))
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
}

// drain reads what is there, marks it as done, and returns how many records came and how many were lost.
func (b *bench) drain(r *Reader) (came, lost uint64) {
	b.Helper()
	var f segment.Frame
	for {
		ok, gone, err := r.TryNext(b.ctx, &f)
		if err != nil {
			b.Fatal(err)
		}
		lost += countOf(gone)
		if !ok {
			return came, lost
		}
		came += uint64(f.Count)
		r.Done(nil, rangeOf(&f))
	}
}

// doAllBut reads what is there and marks it as done, record by record, but for those held.
func (b *bench) doAllBut(r *Reader, held ...uint64) {
	b.Helper()
	var f segment.Frame
	for {
		ok, lost, err := r.TryNext(b.ctx, &f)
		if err != nil || lost.Last > 0 {
			b.Fatal(lost, err)
		}
		if !ok {
			return
		}
		for n := f.First; n <= f.Last(); n++ {
			if !slices.Contains(held, n) {
				r.Done(nil, checkpoint.Range{First: n, Last: n})
			}
		}
	}
}

func rangeOf(f *segment.Frame) checkpoint.Range {
	return checkpoint.Range{First: f.First, Last: f.Last()}
}

func countOf(r checkpoint.Range) uint64 {
	if r.Last == 0 {
		return 0
	}
	return r.Last - r.First + 1
}

// fsckOf is what fsck says of a file system, with the positions of a store that is in memory.
func (b *bench) fsckOf(fsys vfs.FS) (recovery.Report, error) {
	return recovery.Check(b.ctx, fsys, "/data", recovery.CheckOptions{Store: b.store.Reopen()})
}

// inLedger is how many records the loss ledger has, of one cause or of all.
func (b *bench) inLedger(cause string) (n uint64) {
	b.Helper()
	for _, l := range b.ledger() {
		if cause == "" || l.Cause == cause {
			n += l.Count
		}
	}
	return n
}

// kept is the source positions that a start on what is there now would find.
func kept(t *testing.T, fsys *faultfs.FS) map[string][]byte {
	t.Helper()
	st, err := recovery.Start(fsys, "/data", checkpoint.NewMemory(), recovery.Options{})
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(st.Positions, func(key string, _ []byte) bool {
		_, unsealed := recovery.UnsealedName(key)
		return unsealed
	})
	return st.Positions
}

// tight is a disk that others keep full while on is set: what is freed is taken at once.
type tight struct {
	*faultfs.FS
	on atomic.Bool
}

func (t *tight) Space(name string) (vfs.Space, error) {
	s, err := t.FS.Space(name)
	if t.on.Load() {
		s.Free = 0
	}
	return s, err
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: record %d is %.40q, want %.40q", what, i, got[i], want[i])
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
