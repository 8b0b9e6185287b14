package torture

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/judge"
	"logmule/integration/rig"
)

// site is a daemon with its data directory on a fault disk, under a load that goes on whatever happens to it, and with
// destinations that are always there. Lines that one output has written to a file on the same disk are the proof that each record is
// in the queue once.
type site struct {
	*rig.Lab
	t    *testing.T
	disk *disk.Disk
	r    *rand.Rand

	queue   string // what stands in its section [queue]
	others  string // the sections behind it
	archive string // file that the file output appends to
	sink    *rig.HTTPSink
	stream  *rig.TCPSink
	down    bool     // the sink refuses everything
	http    *repeats // what the sink gets
	tcp     *repeats
	file    *judge.Destination // what the archive holds in the end
	filed   map[string]bool    // the same, by their heads
	cuts    []cut              // ways to lose the power
	modes   []disk.Mode        // what that leaves
	seqs    sequences
	program *program // that writes the log
	onDisk  bool     // the log is on the disk that loses power, and written by a neighbour instead
	debris  debris
	in, log string   // where the sources send to, and write to
	stops   []func() // ends each source
	acks    *acks    // of the http sources; nil: nobody asks for them
	settled int      // power loss before which everything was synced

	ready  []time.Duration // of each start that was waited for
	latest string          // what the latest power loss was
}

// resend is that of the tcp output.
const resend = 16 << 10

// small are segments so small that they are begun, sealed and deleted many times a second.
const small = "segment_size = \"64KiB\"\n"

// medium are segments of which one ends only when the one before it is deleted: until then nothing in the log says how far outputs are but
// the beginning of the latest.
const medium = "segment_size = \"512KiB\"\n"

// newSite makes one whose log no power loss takes; queue is what stands in its section [queue].
func newSite(t *testing.T, seed uint64, queue string) *site {
	t.Helper()
	return newSiteWith(t, seed, queue, "")
}

// newSiteWith makes one whose log is in a directory on the disk, if logs names one.
func newSiteWith(t *testing.T, seed uint64, queue, logs string) *site {
	t.Helper()
	dir := t.TempDir()
	d, err := disk.Start(disk.Options{Mount: filepath.Join(dir, "disk"), Backing: filepath.Join(dir, "backing"), Output: filepath.Join(dir, "disk.log")})
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	in, httpOut, tcpOut := rig.OwnAddress(t), rig.OwnAddress(t), rig.OwnAddress(t)
	s := &site{t: t, disk: d, archive: filepath.Join(d.Path(), "archive", "all.log"), log: filepath.Join(dir, "program.log"), cuts: cuts, modes: modes, filed: map[string]bool{}}
	if logs != "" {
		s.log, s.onDisk = filepath.Join(d.Path(), logs, "program.log"), true
	}
	s.queue, s.others = queue, fmt.Sprintf(`
[input.in]
type = "http"
listen = %q
[input.log]
type = "file"
paths = [%q]
poll = "20ms"
start_at = "beginning"
partial_after = "1h"
[output.http]
type = "http"
url = "http://%s/logs"
max_batch = "64KiB"
[output.tcp]
type = "tcp"
address = %q
resend = "%dB"
[output.archive]
type = "file"
path = %q
`, in, s.log, httpOut, tcpOut, resend, s.archive)
	s.Lab = rig.NewLab(t, dir, filepath.Join(d.Path(), "data"), rig.OwnAddress(t), s.text(queue))
	s.Judge = judge.New(seed)
	s.r = s.Judge.Rand("power")
	s.http = newRepeats(s.Judge.Destination("http"), 0)
	s.tcp = newRepeats(s.Judge.Destination("tcp"), resend)
	s.file = s.Judge.Destination("archive")
	s.sink = rig.StartHTTPSink(t, httpOut, s.debris.without(s.http.arrived))
	s.sink.Watch(s.seqs.watch)
	s.stream = rig.StartTCPSink(t, tcpOut, s.debris.without(s.tcp.arrived))
	s.in = "http://" + in + "/"
	return s
}

// text is the configuration with that in its section [queue].
func (s *site) text(queue string) string { return "[queue]\n" + queue + s.others }

// load starts the sources: a client alone, four beside each other, and a program that writes a log.
func (s *site) load() {
	s.post("one", &rig.HTTPSource{Batch: 1, Size: 120, Every: time.Millisecond})
	if s.onDisk {
		s.neighbour()
		return
	}
	for i := range 4 {
		s.post(fmt.Sprintf("four-%d", i), &rig.HTTPSource{Batch: 10, Size: 300, Every: 4 * time.Millisecond})
	}
	s.program = &program{LogWriter: rig.LogWriter{Name: s.log, Style: rig.Rename}, source: s.Judge.Source("log"), r: s.Judge.Rand("program")}
	stop := rig.Background(s.t, s.program.run)
	s.stops = append(s.stops, func() { must(s.t, stop()) })
}

func (s *site) post(name string, source *rig.HTTPSource) {
	source.URL, source.Source = s.in, s.Judge.Source(name)
	if s.acks != nil {
		source.Told = s.acks.told(name)
	}
	stop := rig.Background(s.t, source.Run)
	s.stops = append(s.stops, func() { stop() })
}

// endLoad ends the sources and waits for them.
func (s *site) endLoad() {
	for _, stop := range s.stops {
		stop()
	}
	s.stops = nil
}

// begin starts the load and the daemon for the first time, and lets it see the log.
func (s *site) begin() {
	s.t.Helper()
	s.load()
	s.start()
	s.Wait("the log is seen", func() bool { return s.http.has("J log 1") })
	if !s.onDisk {
		s.program.seen.Store(true)
	}
}

// launch starts the daemon and waits for nothing.
func (s *site) launch() {
	s.t.Helper()
	s.Launch()
	if !s.down { // what it cannot deliver is no work of that output
		s.http.started()
	}
	s.tcp.started()
}

// start starts the daemon, which must be ready by itself, and waits until the load goes on.
func (s *site) start() {
	s.t.Helper()
	s.startIdle()
	s.goesOn()
}

// startIdle is start where the load has ended.
func (s *site) startIdle() {
	s.t.Helper()
	s.launch()
	took, err := s.Proc.Ready(rig.Patience)
	must(s.t, err)
	s.ready = append(s.ready, took)
}

// goesOn waits until something more is acknowledged.
func (s *site) goesOn() {
	s.t.Helper()
	owed := s.Judge.Owed()
	s.Wait("the load goes on", func() bool { return s.Judge.Owed() > owed+50 })
}

// judged ends the load, drains, and gives the verdict: everything but repeats is a failure, and those are within the promise.
func (s *site) judged() judge.Verdict {
	s.t.Helper()
	s.down = false
	s.sink.Answer(accept)
	s.start()
	s.endLoad()
	s.rest()
	s.Stop()
	s.readArchive()
	s.clean()
	return s.Judge.Verdict()
}

// mood lets the http destination be down now and then, so that the queue holds more than the newest segment.
func (s *site) mood() {
	s.down = s.r.IntN(4) == 0
	if s.down {
		s.sink.Answer(refuse)
	} else {
		s.sink.Answer(accept)
	}
}

func accept() rig.Answer { return rig.Accept }
func refuse() rig.Answer { return rig.Answer{Status: http.StatusServiceUnavailable} }

// tarry accepts late enough that its output is behind the others, whatever is written into the log meanwhile.
func tarry() rig.Answer { return rig.Answer{Store: true, After: 30 * time.Millisecond} }

// rest waits until the daemon has delivered all that it has. Where something is owed that never comes, it is enough that nothing moves
// any more.
func (s *site) rest() {
	s.t.Helper()
	last, since := uint64(0), time.Now()
	s.Wait("everything is delivered", func() bool {
		if now := s.http.Arrivals() + s.tcp.Arrivals(); now != last {
			last, since = now, time.Now()
		}
		owed := s.http.Owes() + s.tcp.Owes()
		return (owed == 0 || time.Since(since) > atRest) && s.Metric("logmule_output_backlog_records") == 0
	})
}

// atRest is how long nothing comes before the rest is taken for lost. It is waited for only where a test fails.
const atRest = 5 * time.Second

func (s *site) readArchive() {
	s.t.Helper()
	text, err := os.ReadFile(s.archive)
	must(s.t, err)
	if !bytes.HasSuffix(text, []byte{'\n'}) {
		s.t.Errorf("the archive ends in a torn line: %.80q", text[bytes.LastIndexByte(text, '\n')+1:])
	}
	rig.Lines(text, s.debris.without(func(record []byte) {
		s.file.Arrived(record)
		s.filed[string(head(record))] = true
	}))
}

// agree says whether each output has delivered what the others have: what one of them has seen was durable, also where nobody was told so.
func (s *site) agree() error {
	ends := map[string]map[string]bool{"http": s.http.heads(), "tcp": s.tcp.heads(), "archive": s.filed}
	all, missed, first := map[string]bool{}, 0, ""
	for _, came := range ends {
		maps.Copy(all, came)
	}
	for name, came := range ends {
		for key := range all {
			if !came[key] {
				missed++
				first = key + " to " + name
			}
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d records came to one output and never to another; one of them is %s", missed, first)
	}
	return nil
}

// clean says that fsck finds nothing and that the loss ledger has no record that was acknowledged.
func (s *site) clean() {
	s.t.Helper()
	if _, err := os.Stat(s.Data); errors.Is(err, fs.ErrNotExist) {
		return
	}
	if code, page := s.Run("fsck", s.Data); code != 0 {
		s.t.Errorf("fsck exits %d:\n%s", code, page)
	}
	file, err := os.Open(filepath.Join(s.Data, "losses.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	must(s.t, err)
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var loss struct {
			Count        uint64
			Acknowledged string
		}
		if err := json.Unmarshal(lines.Bytes(), &loss); err == nil && loss.Count > 0 && loss.Acknowledged != "no" {
			s.t.Errorf("the loss ledger has %d records, acknowledged: %s: %s", loss.Count, loss.Acknowledged, lines.Bytes())
		}
	}
}

// keep copies the data directory for whoever looks into a failure, and says where everything is.
func (s *site) keep() {
	s.t.Helper()
	if !s.t.Failed() {
		return
	}
	select {
	case <-s.disk.Frozen(): // nothing can be read from it like this; the daemon has been killed
		must(s.t, s.disk.Crash(disk.Keep, 0))
	default:
	}
	kept, err := os.MkdirTemp("", "logmule-failed-")
	must(s.t, err)
	for name, from := range map[string]string{"disk": s.disk.Path(), "around": s.Dir} {
		if err := copyTree(filepath.Join(kept, name), from, s.disk.Path(), filepath.Join(s.Dir, "backing")); err != nil {
			s.t.Logf("copy of %s: %v", from, err)
		}
	}
	s.t.Logf("%s=%d repeats the random choices; %s holds the disk and the output of the daemon", judge.SeedVariable, s.Judge.Seed(), kept)
}

// copyTree copies regular files, without what is at or below the paths left out.
func copyTree(to, from string, without ...string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for _, w := range without {
			if path == w && path != from {
				return filepath.SkipDir
			}
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		name = filepath.Join(to, name)
		if d.IsDir() {
			return os.MkdirAll(name, 0o700)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(name, b, 0o600)
	})
}
