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
