package torture

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// flood are sources that send as much as is taken, beside the trickle.
func (w *world) flood(name string) []*feed {
	feeds := w.trickle(name)
	for n := range 3 {
		number := fmt.Sprintf("%s-flood%d", name, n)
		feeds = append(feeds,
			poster(w.Judge.Source("http-"+number), "http://"+w.http+"/", 2*rig.Patience),
			stream("tcp", w.Judge.Source("tcp-"+number), "tcp", w.tcp),
			stream("unix", w.Judge.Source("unix-"+number), "unix", w.unix),
			datagrams(w.Judge.Source("udp-"+number), w.udp))
	}
	for _, f := range feeds[len(w.trickle("")):] {
		f.size, f.every = 1000, time.Millisecond
		if f.kind != "udp" {
			f.batch = 200
		}
	}
	for _, f := range feeds {
		switch f.kind {
		case "file":
			f.size, f.batch = 1000, 50 // 2 MB a second: whoever writes a log is not held up
		case "stdin":
			f.size, f.batch, f.every = 1000, 200, time.Millisecond
		}
	}
	return feeds
}

// TestOverload: every input is sent more than the disk takes and more than the destinations read, until the queue is full.
// Whoever can wait has to; the daemon stays as small as it says, and goes on when that is over.
func TestOverload(t *testing.T) {
	dir := t.TempDir()
	p := places{data: dir + "/data", logs: dir + "/logs", out: dir + "/out", rate: -1,
		queue: "segment_size = \"64KiB\"\nmax_size = " + by(`"2MiB"`, `"8MiB"`, `"64MiB"`), slow: by(0, 3*time.Millisecond, 10*time.Millisecond)}
	var d *disk.Disk
	if level != smoke {
		d = faultDisk(t)
		p.data = d.Path() + "/data"
	}
	w := newWorld(t, p)
	w.start()
	if d != nil {
		_, err := d.Fail(on(disk.Sync, segments, disk.Rule{Delay: 10 * time.Millisecond}))
		must(t, err)
	}
	stop := w.watch()
	began := time.Now()
	w.begins(w.flood("a"))
	for until := began.Add(by(time.Millisecond, 5*time.Second, 3*time.Minute)); ; {
		w.moves(nil, "in the flood")
		if time.Now().After(until) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.late.Close()
	w.Wait("the queue is full", func() bool { return w.counters()["full/"] == 1 })
	before := w.probe().tally()[http.StatusServiceUnavailable]
	w.Wait("a post is answered 503 by the full queue", func() bool { return w.probe().tally()[http.StatusServiceUnavailable] > before })
	if status, why := w.ready(); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d %q while the queue is full", status, why)
	}
	time.Sleep(by(time.Millisecond, time.Second, time.Minute)) // more of it
	lasted, full := time.Since(began), w.counters()
	from := time.Now()
	if d != nil {
		must(t, d.Clear())
	}
	w.late.Open()
	backs := w.comeBack(fault{name: "the flood, from a full queue"})
	took := stop()
	took.bounded(t, 400<<20, 600, 1000)
	statuses := statuses(nil, w.answers())
	w.close()
	t.Logf("%v, drained %v after", took, time.Since(from))
	for _, k := range kinds() {
		row := reliability.Row{Part: reliability.Load, Fault: "more than the disk takes and the destinations read, until the queue is full", Kind: k[1], Tried: 1, Back: backs[k[1]]}
		row.Outcome = fmt.Sprintf("%.0f records in %v, then waited", full[k[0]], lasted.Round(time.Second))
		switch k[1] {
		case "input http":
			row.Outcome += "; answers: " + statuses
		case "input udp":
			row.Declared = uint64(full["dropped/udp"])
			row.Outcome += "; what the kernel had no room for is counted as dropped"
		}
		reliability.Add(t, row)
	}
	reliability.Add(t, reliability.Row{Part: reliability.Load, Fault: "more than the disk takes and the destinations read, until the queue is full", Tried: 1, Outcome: took.String()})
}
