package torture

import (
	"testing"
	"time"

	"syscall"

	"logmule/integration/disk"
	"logmule/integration/reliability"
)

// TestStartOnABadDisk: a start that cannot read what is there must not take it for destroyed. It waits, and has lost nothing.
func TestStartOnABadDisk(t *testing.T) {
	need(t, disk.Available())
	if level == smoke {
		t.Skip("it takes some seconds; set LOGMULE_TORTURE=short")
	}
	t.Parallel()
	for what, name := range map[string]string{"every read of a segment": segments, "every read of anything": ""} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, disks := newDiskWorld(t, "data")
			d := disks["data"]
			for range 3 {
				w.moves(nil, "before")
			}
			w.settle()
			stored := uint64(w.counters()["next/"]) - 1
			w.drained("late")
			w.Proc.Kill()
			id, err := d.Fail(on(disk.Read, name, fails(syscall.EIO)))
			must(t, err)
			w.launch()
			w.Wait("the disk refuses", func() bool { return w.hits(d, []int{id}) > 0 })
			if status, why := w.ready(); status == 200 {
				t.Errorf("/readyz answers 200 %q on a disk that gives nothing", why)
			}
			time.Sleep(time.Second) // nothing is to happen
			ended := time.Now()
			must(t, d.Clear())
			took, err := w.Proc.Ready(time.Minute)
			must(t, err)
			back := time.Since(ended)
			w.late.Open()
			w.drained("")
			if n := w.counters()["ledger/"]; n != 0 {
				t.Errorf("%v records are in the loss ledger: %+v", n, w.ledger())
			}
			w.Stop()
			w.readArchive()
			w.fsck()
			w.account(stored, nil, 1000)
			t.Logf("ready %v after the start", took)
			reliability.Add(t, reliability.Row{Part: reliability.Disks, Fault: "data_dir: EIO from " + what + " at a start, for a second", Tried: 1, Back: back,
				Outcome: "the start waited and said so; nothing was taken for destroyed"})
		})
	}
}
