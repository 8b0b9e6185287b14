package torture

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"logmule/integration/reliability"
)

// plainWorld is a world on a good disk.
func plainWorld(t *testing.T, change func(*places)) *world {
	t.Helper()
	dir := t.TempDir()
	p := places{data: filepath.Join(dir, "data"), logs: filepath.Join(dir, "logs"), out: filepath.Join(dir, "out")}
	if change != nil {
		change(&p)
	}
	return newWorld(t, p)
}

// close ends a world that nothing was to be lost of.
func (w *world) close() {
	w.t.Helper()
	w.late.Open()
	w.settle()
	stored := uint64(w.counters()["next/"]) - 1
	w.drained("")
	w.Stop()
	w.readArchive()
	if r := w.fsck(); r.Last != stored || r.Lost != 0 {
		w.t.Errorf("fsck: %+v; %d records were stored", r, stored)
	}
	w.account(stored, nil, 0)
}

// TestMoreConnectionsThanDescriptors: who does not get one waits; everybody else is served, the queue too.
func TestMoreConnectionsThanDescriptors(t *testing.T) {
	const descriptors = 128
	w := plainWorld(t, nil)
	w.start()
	w.feed("a")
	w.moves(nil, "before")
	must(t, limitDescriptors(w.Proc.PID(), descriptors))
	stop := w.watch()
	var crowd []net.Conn
	defer func() {
		for _, c := range crowd {
			_ = c.Close()
		}
	}()
	for range by(100, 300, 300) {
		for network, address := range map[string]string{"tcp": w.tcp, "unix": w.unix, "http": w.http} {
			if network == "http" {
				network = "tcp"
			}
			c, err := net.DialTimeout(network, address, 100*time.Millisecond)
			if err != nil {
				continue // the kernel's queue of those who wait is full
			}
			crowd = append(crowd, c)
			_, _ = c.Write([]byte(stranger)) // without its end: it may be taken, and need not
		}
	}
	t.Logf("%d connections", len(crowd))
	const http1 = "input http" // each of its requests needs a new connection
	for range by(2, 10, 200) {
		w.moves([]string{http1}, "beside a crowd")
	}
	used := stop()
	taken := w.counters()["taken/http"]
	for _, c := range crowd {
		_ = c.Close()
	}
	ended := time.Now()
	w.Wait("the http input takes requests again", func() bool { return w.counters()["taken/http"] > taken })
	back := time.Since(ended)
	w.moves(nil, "after the crowd")
	used.bounded(t, 256<<20, descriptors, 1000)
	w.close()
	for _, k := range kinds() {
		row := reliability.Row{Part: reliability.Load, Fault: fmt.Sprintf("%d connections where %d descriptors are", len(crowd), descriptors), Kind: k[1], Outcome: "went on; " + used.String(), Tried: 1}
		if k[1] == http1 {
			row.Outcome, row.Back = "new connections waited, in the kernel", back
		}
		reliability.Add(t, row)
	}
}
