package queue

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"logmule/queue/segment"
)

// takeAway removes all segments of a stopped queue, as a disk does that is not mounted, and returns what they held.
func (b *bench) takeAway() map[segment.Name][]byte {
	b.Helper()
	away := map[segment.Name][]byte{}
	for _, name := range b.old() {
		away[name] = b.content(name)
		if err := b.fsys.Remove(segPath(name)); err != nil {
			b.Fatal(err)
		}
	}
	return away
}

// TestReturned: segments that were away at a start, and are here again after their records were written down as lost, are not deleted as
// if they had been delivered. fsck and the start tell of them, and an output that is told to gets them, once.
func TestReturned(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	fast, slow := b.q.Reader("fast", Oldest), b.q.Reader("slow", Oldest)
	sent := b.fill(60, 8000)
	b.take(fast, 60)
	b.checkpoint(fast)
	b.checkpoint(slow)
	b.close()
	away := b.takeAway()
	b.open()
	b.drain(b.q.Reader("fast", Oldest))
	b.drain(b.q.Reader("slow", Oldest))
	b.close()
	if got := b.inLedger("missing segment"); got != 60 {
		t.Fatalf("%d records are written down as lost", got)
	}
	for name, data := range away {
		b.put(name, data)
	}
	tells := func(want bool) {
		t.Helper()
		report, err := b.fsckOf(b.fsys)
		told := slices.ContainsFunc(report.Notes, func(n string) bool {
			return strings.Contains(n, "60 records, sequences 1 to 60, are here again") && strings.Contains(n, "logmule rewind /data OUTPUT --to 1")
		})
		if err != nil || !report.Clean || told != want {
			t.Errorf("fsck: clean %v, %q, %v", report.Clean, report.Notes, err)
		}
	}
	for range 2 {
		tells(true)
		log.Reset()
		b.open()
		if !strings.Contains(log.String(), "are here again") {
			t.Errorf("the log of the start: %s", &log)
		}
		b.drain(b.q.Reader("fast", Oldest))
		b.append("more")
		b.q.trim(0)
		b.q.urgent.poke()
		b.checkpoint(b.q.Reader("fast", Oldest))
		b.q.trim(0)
		if first := b.q.Status().First; first != 1 {
			t.Fatalf("the oldest record is %d", first)
		}
		b.close()
	}
	opt := b.opt
	if _, err := Rewind(opt, "slow", Target{Oldest: true}); err != nil {
		t.Fatal(err)
	}
	b.open()
	slow = b.q.Reader("slow", Oldest)
	got, lost := b.take(slow, 60)
	if lost > 0 {
		t.Errorf("%d lost", lost)
	}
	equal(t, "slow", got, sent)
	b.drain(slow)
	b.drain(b.q.Reader("fast", Oldest))
	b.checkpoint(slow)
	waitFor(t, "what is delivered to be deleted", func() bool { b.q.trim(0); return b.q.Status().First > 50 })
}

// TestReturnedMakesRoom: they do not make the queue full.
func TestReturnedMakesRoom(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, func(o *Options) {
		o.SegmentSize, o.MaxSize, o.Log = 64<<10, 1<<20, slog.New(slog.NewTextHandler(&log, nil))
	})
	r := b.q.Reader("out", Oldest)
	b.fill(30, 8000)
	b.checkpoint(r)
	b.close()
	away := b.takeAway()
	b.reopenLost(away)
	r = b.q.Reader("out", Oldest)
	for range 30 {
		b.fill(5, 8000)
		b.drain(r)
	}
	if text := log.String(); !strings.Contains(text, "deleted to make room") || b.inLedger("") != 30 {
		t.Errorf("the ledger tells of %d; the log: %s", b.inLedger(""), text)
	}
}

// reopenLost lets the queue write down what is away, and puts that back.
func (b *bench) reopenLost(away map[segment.Name][]byte) {
	b.Helper()
	b.open()
	b.drain(b.q.Reader("out", Oldest))
	b.close()
	for name, data := range away {
		b.put(name, data)
	}
	b.open()
}
