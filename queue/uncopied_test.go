package queue

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestCopiedLate: damaged bytes that could not be copied when their loss was written down are copied when that can be done; the list of
// the quarantine knows what they are, and they are copied once.
func TestCopiedLate(t *testing.T) {
	for _, why := range []error{syscall.ENOSPC, syscall.EACCES} {
		b := newBench(t, func(o *Options) { o.scrubEvery, o.Codec = time.Millisecond, segment.None })
		b.checkpoint(b.q.Reader("one", Oldest))
		b.fill(30, 5000)
		b.close()
		b.overwrite(make([]byte, 30<<10), segment.HeaderSize+200) // more than parity has
		refused := b.refuseIf(why, func(op faultfs.Op) bool {
			return op.Kind == faultfs.Create && strings.Contains(op.Name, "/quarantine/")
		})
		b.opt.ScrubRate = 1 << 40
		b.open()
		waitFor(t, "the line in the ledger", func() bool { return b.inLedger("") > 0 })
		copies := func() (all []recovery.Kept, err error) { // without the segment itself, which heals in part
			all, err = recovery.ListQuarantine(b.fsys, "/data")
			return slices.DeleteFunc(all, func(k recovery.Kept) bool { return k.Kind != recovery.KeptBytes }), err
		}
		all, err := copies()
		if err != nil || len(all) > 0 {
			t.Fatalf("%+v, %v", all, err)
		}
		refused.Store(false)
		waitFor(t, "the copy", func() bool {
			all, err = copies()
			return err != nil || len(all) > 0
		})
		if err != nil || all[0].Count != b.inLedger("") || len(all[0].Lost) != 1 || all[0].LosesNothing {
			t.Fatalf("%+v, %v", all, err)
		}
		was := time.Now()
		waitFor(t, "another pass", func() bool { return b.q.Status().Scrubbed.After(was) })
		b.q.losses.copying.Lock()
		left := len(b.q.losses.uncopied)
		b.q.losses.copying.Unlock()
		if all, err = copies(); err != nil || len(all) != 1 || left != 0 {
			t.Errorf("%+v, %v, %d left", all, err, left)
		}
	}
}
