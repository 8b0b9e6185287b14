package damage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"logmule/checkpoint"
)

// row is one way to break a directory, and what has to come of it.
type row struct {
	number int // in docs/torture.md
	what   string
	on     func(t testing.TB) *world    // nil: smallWorld
	do     func(w *world) []image       // the damaged directories; all come to the same
	lost   func(w *world, n int) string // records that are gone after the n-th; nil: none

	partly bool // instead: those that the parity does not give back, and some there are

	status  int    // of fsck
	cause   string // that fsck names; empty: none, or any
	healed  bool   // fsck would heal
	outcome string // for the page
	open    string // why it does not come out so yet; empty: it does
}

// names of rows are for -run.
func (r row) name() string { return fmt.Sprintf("%02d %s", r.number, r.what) }

// TestTable breaks directories in each way that docs/torture.md lists and that is best shown in memory. Each is judged as
// everything here, and has to come out exactly as the row says.
func TestTable(t *testing.T) {
	var sum tally
	began := time.Now()
	for _, r := range rows {
		t.Run(r.name(), func(t *testing.T) {
			if r.on == nil {
				r.on = smallWorld
			}
			w := r.on(t)
			failed := map[way]bool{} // one case of each is enough
			for n, now := range r.do(w) {
				if len(failed) == int(ways) {
					break
				}
				for by := range ways {
					j := w.try(t, now, by)
					r.judge(j, n)
					sum.add(j)
					if r.open != "" && level(t) != "long" && j.err() != nil {
						t.Logf("open: %s", r.open)
						j.findings = nil
					}
					if failed[by] {
						continue
					}
					if j.err() != nil {
						t.Errorf("case %d, by %v:\n\t%v", n, by, j.err())
						failed[by] = true
					}
				}
			}
		})
	}
	sum.rows(t, "each damage of docs/torture.md that is shown in memory", began)
}

// judge holds a trial against the row.
func (r row) judge(j *trial, n int) {
	if j.there == nil {
		return
	}
	came := append(checkpoint.Ranges(nil), j.there...)
	if n := len(came); n > 0 && j.added > 0 { // that has a number of its own, or one that nobody has seen
		if came[n-1].Last--; came[n-1].Last < came[n-1].First {
			came = came[:n-1]
		}
	}
	gone := checkpoint.Ranges(came.Without(j.w.segs[0].First, j.w.last))
	for _, known := range j.w.history {
		for i, g := range gone {
			if g == known {
				gone = append(gone[:i:i], gone[i+1:]...)
				break
			}
		}
	}
	want := ""
	switch {
	case r.partly:
		want = j.w.unhealed(j.expects).String()
	case r.lost != nil:
		want = r.lost(j.w, n)
	}
	if r.partly && want == "" {
		j.fail("row", "nothing is lost, the row says so")
	}
	if gone.String() != want {
		j.fail("row", "records %q are gone, want %q", gone, want)
	}
	if got := status(j.before, nil); got != r.status {
		j.fail("row", "fsck ends with %d, want %d: %+v", got, r.status, j.before)
	}
	if r.healed != (j.before.HealedBytes > 0) {
		j.fail("row", "fsck would heal %d bytes: %+v", j.before.HealedBytes, j.before.Damage)
	}
	var causes []string
	for _, d := range j.before.Damage {
		causes = append(causes, d.Cause)
	}
	if r.cause != "" && !strings.Contains(strings.Join(causes, ", "), r.cause) {
		j.fail("row", "fsck names %q, want %q", causes, r.cause)
	}
}

// unhealed are the records that nothing gives back.
func (w *world) unhealed(o *oracle) (lost checkpoint.Ranges) {
	for s := range w.payloads {
		if !o.must[s] {
			lost = lost.Add(s, s)
		}
	}
	return lost
}

func (w *world) after(list ...harm) image {
	now := w.files
	for _, h := range list {
		now = h.apply(now)
	}
	return now
}

// after1 is one directory, after these harms.
func (w *world) after1(list ...harm) []image { return []image{w.after(list...)} }

// each is a directory for each of these harms.
func (w *world) each(list []harm) []image {
	var all []image
	for _, h := range list {
		all = append(all, h.apply(w.files))
	}
	return all
}

// edited is a copy of a file with other bytes at an offset.
func (i image) edited(name string, at int64, with []byte) image {
	data := append([]byte(nil), i[name]...)
	copy(data[at:], with)
	now := image{name: data}
	for other, data := range i {
		if other != name {
			now[other] = data
		}
	}
	return now
}

// of is the frame that holds a record, and its segment.
func (w *world) of(sequence uint64) (*seg, frame) {
	for _, s := range w.segs {
		for _, f := range s.frames {
			if f.Count > 0 && f.First <= sequence && sequence <= f.Last() {
				return s, f
			}
		}
	}
	panic(fmt.Sprintf("no frame holds record %d", sequence))
}

// frameOf is the records of the frame that holds one.
func (w *world) frameOf(sequence uint64) string {
	_, f := w.of(sequence)
	return span(f.First, f.Last())
}

func span(first, last uint64) string {
	return checkpoint.Ranges{{First: first, Last: last}}.String()
}
