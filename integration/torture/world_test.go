package torture

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// world is one daemon with every kind of input and output at once, each with its own source or destination. One more output,
// late, has a gate before it, so that what waits for it has to be read from the disk.
type world struct {
	*rig.Lab
	t     *testing.T
	place places

	http, tcp, udp, unix string // addresses of the inputs
	outputs              string // text of the configuration
	feeds                []*feed
	ends                 map[string]*end
	late                 *gate
	sink                 *rig.UDPSink
	stdin                *os.File // where the daemon's standard input is written
	log                  *os.File // that a file input reads
	feeding              []func() error
	told                 int                // bytes of the daemon's output that were looked at
	taken                map[string]float64 // by each input of this process, when the world last settled
	owed                 map[string]int     // how often the log has to say what faults are known by
	rows                 []reliability.Row  // of the faults so far
	lossy                bool               // one of them destroyed records
}

// places are where a world has its files.
type places struct {
	data  string        // data_dir
	logs  string        // directory of the log
	out   string        // directory of the file output's file
	queue string        // sizes of the queue; empty: small segments
	slow  time.Duration // that destinations take for a request or a read
	rate  int           // of the generate input; 0: 50 records a second, less: as many as are taken
}

// newWorld starts the daemon, the destinations and the sources.
func newWorld(t *testing.T, p places) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, place: p, ends: map[string]*end{}, owed: map[string]int{}, taken: map[string]float64{}, http: rig.OwnAddress(t), tcp: rig.OwnAddress(t), udp: rig.OwnAddress(t), unix: filepath.Join(dir, "in.sock")}
	outHTTP, outTCP, outLate, outUDP, outUnix := rig.OwnAddress(t), rig.OwnAddress(t), rig.OwnAddress(t), rig.OwnAddress(t), filepath.Join(dir, "out.sock")
	w.outputs = fmt.Sprintf(`
[output.file]
type = "file"
path = %q
[output.http]
type = "http"
url = "http://%s/"
[output.stdout]
type = "stdout"
[output.tcp]
type = "tcp"
address = %q
[output.udp]
type = "udp"
address = %q
[output.unix]
type = "unix"
path = %q
[output.late]
type = "http"
url = "http://%s/"
timeout = "10m"
max_batch = "64KiB"
`, w.archive(), outHTTP, outTCP, outUDP, outUnix, outLate)
	w.Lab = rig.NewLab(t, dir, p.data, rig.OwnAddress(t), w.text(true))
	for _, name := range append([]string{"late"}, outputKinds...) {
		w.ends[name] = newEnd(w.Judge, name)
	}
	rig.StartHTTPSink(t, outHTTP, w.ends["http"].arrived).Answer(func() rig.Answer { return rig.Answer{Store: true, After: p.slow} })
	rig.StartTCPSink(t, outTCP, w.ends["tcp"].arrived).Slow = p.slow
	unix, err := rig.NewUnixSink(outUnix, w.ends["unix"].arrived)
	must(t, err)
	unix.Slow = p.slow
	t.Cleanup(unix.Close)
	w.sink, err = rig.NewUDPSink(outUDP, w.ends["udp"].arrived)
	must(t, err)
	t.Cleanup(w.sink.Close)
	w.late = newGate(t, outLate, w.ends["late"].arrived)
	t.Cleanup(func() {
		if w.Proc == nil {
			return
		}
		w.Proc.Kill()
		out := w.Proc.Output()
		if strings.Contains(out, "WARNING: DATA RACE") {
			t.Error("the daemon has a data race")
		}
		if !t.Failed() {
			return
		}
		t.Logf("seed %d, output of the daemon, its end:\n%s", w.Judge.Seed(), out[max(0, len(out)-8000):])
	})
	must(t, os.MkdirAll(p.logs, 0o755))
	w.log, err = os.OpenFile(filepath.Join(p.logs, "app.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	t.Cleanup(func() { _ = w.log.Close() })
	return w
}

// archive is the file of the file output.
func (w *world) archive() string { return filepath.Join(w.place.out, "archive.log") }

// text is the configuration, with or without the generate input.
func (w *world) text(generate bool) string {
	text := fmt.Sprintf(`
[queue]
min_free = "1MiB"
%s
[input.file]
type = "file"
paths = [%q]
start_at = "beginning"
poll = "100ms"
[input.http]
type = "http"
listen = %q
[input.stdin]
type = "stdin"
[input.tcp]
type = "tcp"
listen = %q
[input.udp]
type = "udp"
listen = %q
[input.unix]
type = "unix"
path = %q
`, cmp.Or(w.place.queue, "segment_size = \"64KiB\"\nmax_size = \"256MiB\""), filepath.Join(w.place.logs, "*.log"), w.http, w.tcp, w.udp, w.unix)
	if generate {
		text += fmt.Sprintf("[input.generate]\ntype = \"generate\"\nrate = %d\nsize = \"150B\"\n", max(cmp.Or(w.place.rate, 50), 0))
	}
	return text + w.outputs
}

// start starts the daemon and waits until it is ready.
func (w *world) start() time.Duration {
	w.t.Helper()
	w.launch()
	took, err := w.Proc.Ready(rig.Patience)
	must(w.t, err)
	return took
}

// launch starts the daemon.
func (w *world) launch() {
	w.t.Helper()
	r, in, err := os.Pipe()
	must(w.t, err)
	if w.stdin != nil {
		_ = w.stdin.Close()
	}
	w.stdin = in
	w.t.Cleanup(func() { _ = in.Close() })
	w.Proc, err = rig.Start(rig.Command{Program: rig.Binary(w.t), Args: []string{"run", "-c", w.Config}, Dir: w.Dir, Admin: w.Admin,
		Stdin: r, Stdout: &lineWriter{arrived: w.ends["stdout"].arrived, slow: w.place.slow}})
	_ = r.Close()
	must(w.t, err)
	w.t.Cleanup(w.Proc.Kill)
}

// feed starts sources that send a little. name tells them from those of another time.
func (w *world) feed(name string) { w.begins(w.trickle(name)) }

// begins starts sources.
func (w *world) begins(feeds []*feed) {
	w.feeds = feeds
	for _, f := range w.feeds {
		w.feeding = append(w.feeding, rig.Background(w.t, f.run))
	}
}

func (w *world) trickle(name string) []*feed {
	return []*feed{
		poster(w.Judge.Source("http-"+name), "http://"+w.http+"/", 2*rig.Patience),
		poster(w.Judge.Source("probe-"+name), "http://"+w.http+"/", 2*time.Second),
		stream("tcp", w.Judge.Source("tcp-"+name), "tcp", w.tcp),
		stream("unix", w.Judge.Source("unix-"+name), "unix", w.unix),
		datagrams(w.Judge.Source("udp-"+name), w.udp),
		lines("file", w.Judge.Source("file-"+name), w.log),
		lines("stdin", w.Judge.Source("stdin-"+name), w.stdin),
	}
}

// probe is the source that posts with little patience.
func (w *world) probe() *feed { return w.feeds[1] }

// hush ends the sources, each after what it has begun; it must come while the daemon takes records.
func (w *world) hush() {
	w.t.Helper()
	for _, stop := range w.feeding {
		must(w.t, stop())
	}
	w.feeding = nil
	for _, f := range w.feeds {
		if n, err := f.failures(); n > 0 {
			w.t.Errorf("the source of the input %s failed %d times: %v", f.kind, n, err)
		}
		if f.answers == nil {
			must(w.t, f.send(context.Background(), nil, 0, 0))
		}
	}
}

// abandon ends the sources of a daemon that was killed: what they sent last nobody has promised.
func (w *world) abandon() {
	w.t.Helper()
	for _, stop := range w.feeding {
		must(w.t, stop())
	}
	for _, f := range w.feeds {
		if f.answers == nil {
			_ = f.send(context.Background(), nil, 0, 0) // the connection may be gone
		}
	}
	w.feeding = nil
}

// settle ends the sources and the generate input and waits until all that they sent is stored. From then on it is owed.
func (w *world) settle() {
	w.t.Helper()
	w.hush()
	w.reload(false)
	sent := map[string]uint64{}
	for _, f := range w.feeds {
		sent[f.kind] += f.source.Sent()
	}
	for _, kind := range inputKinds {
		if kind == "http" || kind == "generate" {
			continue
		}
		w.Wait("all that was sent to the input "+kind+" is taken", func() bool {
			c := w.counters()
			return uint64(c["taken/"+kind]+c["dropped/"+kind]-w.taken[kind]) >= sent[kind]
		})
	}
	w.Wait("all that was taken is stored", func() bool {
		c := w.counters()
		return c["mark/"] == c["next/"]-1 && c["fault/"] == 0
	})
	now := w.counters()
	for _, f := range w.feeds {
		if f.answers == nil && now["dropped/"+f.kind] == 0 {
			f.source.Acknowledged(1, f.source.Sent())
		}
	}
	w.mark()
}

// mark notes what each input has taken by now.
func (w *world) mark() {
	now := w.counters()
	for _, kind := range inputKinds {
		w.taken[kind] = now["taken/"+kind] + now["dropped/"+kind]
	}
}

// drained waits until no output but that one has anything left to get.
func (w *world) drained(but string) {
	w.t.Helper()
	for name := range w.ends {
		if name != but {
			w.Wait("the output "+name+" has got everything", func() bool { return w.counters()["backlog/"+name] == 0 })
		}
	}
}

// reload makes the daemon read its configuration again, with or without the generate input.
func (w *world) reload(generate bool) {
	w.t.Helper()
	was := w.counters()["reloads/ok"]
	w.Configure(w.text(generate))
	must(w.t, w.Proc.Signal(syscall.SIGHUP))
	w.Wait("the reload is done", func() bool { return w.counters()["reloads/ok"] > was })
}

// news is what the daemon has logged since the last call.
func (w *world) news() string {
	all := w.Proc.Output()
	text := all[min(w.told, len(all)):]
	w.told = len(all)
	return text
}

// ready says what /readyz answers.
func (w *world) ready() (status int, why string) {
	status, body, err := w.Proc.Get("/readyz")
	if err != nil {
		return 0, err.Error()
	}
	return status, strings.TrimSpace(string(body))
}
