package torture

import (
	"syscall"
	"testing"
	"time"

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

// TestStopOnABadDisk: a stop does not wait for a disk that refuses. What it could not store nobody was promised, and the loss
// ledger and the exit status tell of it.
func TestStopOnABadDisk(t *testing.T) {
	need(t, disk.Available())
	if level == smoke {
		t.Skip("it takes some seconds; set LOGMULE_TORTURE=short")
	}
	t.Parallel()
	w, disks := newDiskWorld(t, "data")
	d := disks["data"]
	w.moves(nil, "before")
	_, err := d.Fail(on(disk.Sync, segments, fails(syscall.EIO)))
	must(t, err)
	w.Wait("/readyz answers 503", func() bool { status, _ := w.ready(); return status == 503 })
	w.late.Open() // a request in flight may take as long as shutdown_timeout
	must(t, w.Proc.Signal(syscall.SIGTERM))
	asked := time.Now()
	code, err := w.Proc.Wait(time.Minute)
	must(t, err)
	took := time.Since(asked)
	w.abandon()
	if code == 0 {
		t.Error("a stop that could not store everything exits 0")
	}
	must(t, d.Clear())
	var unstored uint64
	for _, l := range w.ledger() {
		if l.Acknowledged != "no" {
			t.Errorf("the loss ledger says %+v", l)
		}
		unstored += l.Count
	}
	back := w.start()
	w.drained("")
	w.Stop()
	w.readArchive()
	w.fsck()
	w.account(0, nil, 1000)
	reliability.Add(t, reliability.Row{Part: reliability.Disks, Fault: "data_dir: a stop while every fdatasync fails", Tried: 1, Declared: unstored, Back: back,
		Outcome: "ended after " + took.Round(time.Millisecond).String() + " with another status than 0; what was accepted and never acknowledged stands in the loss ledger"})
}
