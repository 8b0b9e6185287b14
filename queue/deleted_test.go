package queue

import "testing"

// TestActiveDeleted is row 30 of the table of damage: the active segment is deleted while the queue is open. Nothing that comes after
// that is acknowledged out of a file without a name, and what had been is put back.
func TestActiveDeleted(t *testing.T) {
	for _, what := range []string{"active", "all", "directory"} {
		all := what != "active"
		b := newBench(t, nil)
		b.q.Reader("out", Oldest).Close()
		want := b.fill(30, 4000)
		names := b.old()
		if !all {
			names = names[len(names)-1:]
		}
		for _, name := range names {
			if err := b.fsys.Remove(segPath(name)); err != nil {
				t.Fatal(err)
			}
		}
		if what == "directory" {
			if err := b.fsys.Remove("/data/segments"); err != nil {
				t.Fatal(err)
			}
		}
		more := b.fill(5, 4000)
		b.reopen()
		r := b.q.Reader("out", Oldest)
		defer r.Close()
		if all {
			came, lost := b.drain(r)
			if booked := b.inLedger(""); came+lost != 35 || booked != lost || came < 5 || lost == 0 {
				t.Errorf("%d records came, %d were lost, the ledger has %d: %+v", came, lost, booked, b.ledger())
			}
		} else {
			equal(t, "with the active one deleted", b.got(r, 35), append(want, more...))
		}
		b.checkpoint(r)
		if report, err := b.fsckOf(b.fsys); err != nil || !report.Clean {
			t.Errorf("fsck: %v, %+v", err, report.Damage)
		}
	}
}
