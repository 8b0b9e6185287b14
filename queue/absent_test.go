package queue

import (
	"slices"
	"testing"

	"logmule/queue/segment"
	"logmule/recovery"
)

func (b *bench) rename(from, to string) {
	b.Helper()
	if err := b.fsys.Rename(from, to); err != nil {
		b.Fatal(err)
	}
}

// looks are the ways in which an open queue finds out about a file: a reader needs it, or the scrubber comes to it. Segments that a
// start has found are in doubt until then, those of this process are not.
func looks(t *testing.T, name string, test func(t *testing.T, scrubbed, recovered bool)) {
	for _, scrubbed := range []bool{false, true} {
		for _, recovered := range []bool{false, true} {
			what := map[bool]string{false: " read", true: " scrubbed"}[scrubbed] + map[bool]string{true: " later"}[recovered]
			t.Run(name+what, func(t *testing.T) { test(t, scrubbed, recovered) })
		}
	}
}

// filled is a queue that runs, with the records and the names of its segments; every one but the last is sealed.
func filled(t *testing.T, recovered bool) (b *bench, want []string, names []segment.Name) {
	b = newBench(t, func(o *Options) { o.ScrubRate, o.scrubEvery, o.Codec = 1<<40, 1<<40, segment.None })
	b.q.Reader("out", Oldest).Close()
	want = b.fill(60, 5000)
	if recovered {
		b.reopen()
		if _, err := b.q.scrubAll(); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "all is sealed", func() bool {
		all := b.q.files.snapshot()
		return !slices.ContainsFunc(all[:len(all)-1], func(f *file) bool { return !f.settled.Load() })
	})
	if names = b.old(); len(names) < 7 {
		t.Fatalf("%d segments are too few", len(names))
	}
	return b, want, names
}

// TestNamesTakenLive: whatever becomes of the names of segments while the queue is open, every record comes once and in order, and the
// ledger tells of nothing.
func TestNamesTakenLive(t *testing.T) {
	other := segPath(segment.Name{First: 4999, Salt: 7})
	swap := func(b *bench, x, y segment.Name) {
		b.rename(segPath(x), "/data/aside")
		b.rename(segPath(y), segPath(x))
		b.rename("/data/aside", segPath(y))
	}
	for what, hurt := range map[string]func(b *bench, names []segment.Name){
		"two swapped":       func(b *bench, names []segment.Name) { swap(b, names[1], names[3]) },
		"neighbours":        func(b *bench, names []segment.Name) { swap(b, names[0], names[1]) },
		"a foreign name":    func(b *bench, names []segment.Name) { b.rename(segPath(names[2]), other) },
		"the oldest's name": func(b *bench, names []segment.Name) { b.rename(segPath(names[0]), other) },
		"a directory in its place": func(b *bench, names []segment.Name) {
			b.rename(segPath(names[2]), other)
			if err := b.fsys.MkdirAll(segPath(names[2])); err != nil {
				b.Fatal(err)
			}
		},
		"noise in its place": func(b *bench, names []segment.Name) {
			b.rename(segPath(names[2]), other)
			b.put(names[2], []byte("noise"))
		},
	} {
		looks(t, what, func(t *testing.T, scrubbed, recovered bool) {
			b, want, names := filled(t, recovered)
			hurt(b, names)
			if scrubbed {
				if _, err := b.q.scrubAll(); err != nil {
					t.Error(err)
				}
			}
			r := b.q.Reader("out", Oldest)
			defer r.Close()
			equal(t, what, b.got(r, len(want)), want)
			for _, l := range b.ledger() {
				if l.Count > 0 {
					t.Errorf("the ledger has %+v", l)
				}
			}
			if report := b.fsck(); !report.Clean {
				t.Errorf("fsck: %+v", report.Damage)
			}
			b.checkpoint(r)
			waitFor(t, "delivered segments are deleted", func() bool { b.q.keep.poke(); return b.segments() <= 2 })
			if report := b.fsck(); !report.Clean {
				t.Errorf("fsck: %+v", report.Damage)
			}
		})
	}
}

// TestTrimFindsName: a delivered segment that has another name is deleted with the others, so that it does not stay behind with a hole
// after it that nothing explains.
func TestTrimFindsName(t *testing.T) {
	b, want, names := filled(t, false)
	r := b.q.Reader("out", Oldest)
	defer r.Close()
	equal(t, "all", b.got(r, len(want)), want)
	b.rename(segPath(names[1]), segPath(segment.Name{First: 4999, Salt: 7}))
	b.checkpoint(r)
	waitFor(t, "delivered segments are deleted", func() bool { b.q.keep.poke(); return b.segments() == 1 })
	if report := b.fsck(); !report.Clean {
		t.Errorf("fsck: %+v", report.Damage)
	}
}

// TestAbsentLive: a segment that is deleted while the queue is open, or replaced by what is no file, is written down once by whoever
// looks first, whole; all else comes, and every number is the same then.
func TestAbsentLive(t *testing.T) {
	for what, at := range map[string]int{"oldest": 0, "middle": 2} {
		for _, odd := range []bool{false, true} {
			looks(t, what+map[bool]string{true: " odd"}[odd], func(t *testing.T, scrubbed, recovered bool) {
				b, want, names := filled(t, recovered)
				b.q.Reader("dead", Oldest).Close()
				gone := names[at]
				last := names[at+1].First - 1
				if err := b.fsys.Remove(segPath(gone)); err != nil {
					t.Fatal(err)
				}
				if odd {
					if err := b.fsys.MkdirAll(segPath(gone)); err != nil {
						t.Fatal(err)
					}
				}
				if scrubbed {
					if _, err := b.q.scrubAll(); err != nil {
						t.Error(err)
					}
					b.isAbsent(gone, last)
				}
				r := b.q.Reader("out", Oldest)
				defer r.Close()
				rest := append(slices.Clone(want[:gone.First-1]), want[last:]...)
				equal(t, "what is left", b.got(r, len(rest)), rest)
				b.isAbsent(gone, last)
				s := b.q.Status()
				survey, err := recovery.TakeSurvey(b.fsys, "/data")
				if err != nil || survey.FirstSequence != s.First || survey.LostRecords != s.LedgerRecords || survey.Records != s.Retained {
					t.Errorf("stat has %+v, the queue %+v, %v", survey, s, err)
				}
				if report := b.fsck(); !report.Clean || report.FirstSequence != s.First {
					t.Errorf("fsck: %+v", report)
				}
			})
		}
	}
}

// isAbsent looks whether the ledger tells once, and of nothing else, that a segment is gone.
func (b *bench) isAbsent(gone segment.Name, last uint64) {
	b.Helper()
	all := b.ledger()
	if len(all) != 1 || all[0].First != gone.First || all[0].Last != last || all[0].Segment != gone.String() || all[0].Cause != "missing segment" {
		b.Errorf("the ledger has %+v", all)
	}
}

// TestNameOccupied: a file that a newer logmule has written is not replaced by the segment whose name it has. That waits for its name,
// nothing of it is lost, and it comes when the way is free.
func TestNameOccupied(t *testing.T) {
	for _, later := range []bool{false, true} { // a start meets it, or the open queue
		b, want, names := filled(t, false)
		h := segment.Header{Queue: b.q.id, Epoch: segment.Epoch{Starts: 9, Random: 1}, Salt: 7, First: names[2].First, Size: 1 << 16, Incompat: 1 << 30}
		newer := h.Encode()
		if later {
			b.close()
		}
		b.rename(segPath(names[2]), segPath(segment.Name{First: 4999, Salt: 7}))
		b.put(names[2], newer)
		if later {
			b.open()
		}
		r := b.q.Reader("out", Oldest)
		before := int(names[2].First - 1)
		got := b.got(r, before)
		var f segment.Frame
		if _, err := r.Next(b.ctx, &f); err == nil || len(b.ledger()) > 0 {
			t.Fatalf("record %d, %v, the ledger has %+v", f.First, err, b.ledger())
		}
		if !slices.Equal(b.content(names[2]), newer) {
			t.Error("the newer file was replaced")
		}
		b.rename(segPath(names[2]), "/data/elsewhere")
		equal(t, "when the way is free", append(got, b.got(r, len(want)-before)...), want)
		r.Close()
	}
}

// TestOddOldestLive: fsck beside a running queue reports what is owed of the oldest segment when something else stands in its place, as
// it does when the queue has stopped.
func TestOddOldestLive(t *testing.T) {
	b, _, names := filled(t, false)
	if err := b.fsys.Remove(segPath(names[0])); err != nil {
		t.Fatal(err)
	}
	if err := b.fsys.MkdirAll(segPath(names[0])); err != nil {
		t.Fatal(err)
	}
	if report := b.fsck(); report.Clean || !report.Running || report.LostRecords != names[1].First-names[0].First {
		t.Errorf("fsck: %+v", report)
	}
}

// TestDeletedWhileRead: a segment that is deleted while a reader has it open is not lost: whoever misses it first puts it back.
func TestDeletedWhileRead(t *testing.T) {
	for _, scrubbed := range []bool{false, true} {
		b, want, names := filled(t, true)
		one, other := b.q.Reader("out", Oldest), b.q.Reader("other", Oldest)
		got := b.got(one, 2)
		if err := b.fsys.Remove(segPath(names[0])); err != nil {
			t.Fatal(err)
		}
		if scrubbed {
			if _, err := b.q.scrubAll(); err != nil {
				t.Error(err)
			}
		}
		equal(t, "to the other", b.got(other, len(want)), want)
		equal(t, "to the one", append(got, b.got(one, len(want)-2)...), want)
		if all := b.ledger(); len(all) > 0 {
			t.Errorf("the ledger has %+v", all)
		}
		one.Close()
		other.Close()
	}
}
