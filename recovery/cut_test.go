package recovery

import (
	"slices"
	"testing"

	"logmule/queue/segment"
)

// TestCutForEver: frames that a start has given up do not come back with the segment, where a power loss undoes its deletion. Their
// source was told to send them again, and the mark has passed their sequences meanwhile.
func TestCutForEver(t *testing.T) {
	at := func(position string) segment.Pair { return segment.Pair{Key: "file", Value: []byte(position)} }
	b := newBuilder(t)
	b.sealed(5)
	b.open()
	b.full(at("5"))
	b.sync()
	b.sourced(5, "file", "10")
	b.sourced(5, "file", "15")
	b.close()
	b.flip(1, b.of(7).offset+70)
	first := mustStart(t, b.fs, nil)
	if got := string(first.Positions["file"]); got != "5" || !slices.Contains(first.Empty, b.made[1]) {
		t.Fatalf("the first start: position %q, empty %v", got, first.Empty)
	}
	b.start()
	b.next, b.mark, b.link = first.Next, first.Next-1, first.Previous
	b.open()
	b.full(at("5"))
	b.sync()
	b.close()
	second := mustStart(t, b.fs, nil)
	if got := string(second.Positions["file"]); got != "5" {
		t.Errorf("the position is %q, want 5", got)
	}
	if got := surviving(t, b.fs).String(); got != "1-5" {
		t.Errorf("there are the records %s, want 1-5", got)
	}
}

// TestNoCutWithoutLoss: where a hole holds no record, what follows it claims none that is missing.
func TestNoCutWithoutLoss(t *testing.T) {
	b := newBuilder(t)
	b.open()
	b.durable(5)
	b.delta(segment.Pair{Key: "other", Value: []byte("1")})
	b.sourced(5, "file", "10")
	b.close()
	b.flip(0, b.placed[len(b.placed)-2].offset+10)
	state := mustStart(t, b.fs, nil)
	if got := surviving(t, b.fs).String(); got != "1-10" || string(state.Positions["file"]) != "10" {
		t.Errorf("there are the records %s, and the position is %q", got, state.Positions["file"])
	}
}

// TestLostEndWithoutTrailer: a segment whose trailer is made again from the frames that are left says nothing of those behind them. What
// was there is kept and told of by the start, once.
func TestLostEndWithoutTrailer(t *testing.T) {
	b := newBuilder(t)
	b.codec = segment.None
	b.open()
	b.durable(5, 300, 5, 300)
	b.seal()
	b.killed(5)
	const stripe, groups = 64, 32
	last, good := b.of(320).offset/stripe+1, b.of(20).offset/stripe+1
	edit(t, b.fs, b.path(0), func(data []byte) []byte {
		clear(data[len(data)-4096:])
		for i := range int64(groups / 2) { // two of each of these groups: more than parity gives back
			data[(last+i)*stripe] ^= 0xff
			data[(last+i+groups)*stripe] ^= 0xff
		}
		data[(good+(last+groups-good-1)%groups)*stripe] ^= 0xff // one of another group: the segment had been sealed
		return data
	})
	state := mustStart(t, b.fs, nil)
	if got := surviving(t, b.fs).String(); got != "1-310 611-615" {
		t.Errorf("there are the records %s, want 1-310 611-615", got)
	}
	if yes, no := ledgered(t, b.fs); yes.String() != "311-610" || no.String() != "" || len(quarantined(t, b.fs)) < 2 {
		t.Errorf("lost are %v and %v, in quarantine is %v", yes, no, quarantined(t, b.fs))
	}
	if !state.Report.Clean && len(state.Report.Damage) == 0 {
		t.Error("the start says nothing of it")
	}
	report, err := Check(t.Context(), b.fs, testDir, CheckOptions{Deep: true})
	if err != nil || !report.Clean || report.LostRecords != 0 {
		t.Errorf("fsck after the start: %+v, %v", report, err)
	}
}
