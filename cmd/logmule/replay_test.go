package main

import (
	"errors"
	"testing"

	"logmule/forward"
	"logmule/queue"
)

func TestReplayedLine(t *testing.T) {
	for want, r := range map[string]forward.Replayed{
		"3 records put back: 2 for api, 1 for web; their sequences are 7 to 9\n": {Records: 3, Outputs: map[string]uint64{"web": 1, "api": 2}, First: 7, Last: 9, All: 3},
		"1 record put back: 1 for a\\x1b; its sequence is 7; 4 records had been put back by a replay that was interrupted; 2 dead letters cannot be read any more, see losses.jsonl there\n": {
			Records: 1, Outputs: map[string]uint64{"a\x1b": 1}, First: 7, Last: 7, Before: 4, Lost: 2, All: 7},
		"0 records put back; there are no dead letters\n":                                      {},
		"0 records put back; all dead letters, up to number 5, were replayed before\n":         {All: 5},
		"0 records put back; 5 records had been put back by a replay that was interrupted\n":   {All: 5, Before: 5},
		"0 records put back; 5 dead letters cannot be read any more, see losses.jsonl there\n": {All: 5, Lost: 5},
	} {
		if got := replayedLine(r); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

// TestReplayStatus: dead letters that cannot be put back are not all of them.
func TestReplayStatus(t *testing.T) {
	for lost, want := range map[uint64]int{0: 0, 3: exitFailed} {
		err := replayFailure(t.Context(), "d", forward.Replayed{Records: 1, Lost: lost}, nil)
		var f *failure
		if errors.As(err, &f) != (want > 0) || want > 0 && (f.code != want || f.err != nil) {
			t.Errorf("%d lost: %v", lost, err)
		}
	}
}

func TestRewoundLine(t *testing.T) {
	for _, c := range []struct {
		to   queue.Target
		r    queue.Rewound
		want string
	}{
		{queue.Target{Oldest: true}, queue.Rewound{Before: 9, After: 4, First: 4, Last: 10, Records: 7, Again: 5}, "o: position 4, was 9; 7 records to be sent, 5 of them again, the first of -; records before 4 are gone\n"},
		{queue.Target{Sequence: 2}, queue.Rewound{Before: 4, After: 4, First: 4, Last: 4, Records: 1}, "o: position 4, was 4; 1 record to be sent, the first of -; 2 is gone, 4 is the oldest that is left\n"},
		{queue.Target{Newest: true}, queue.Rewound{Before: 4, After: 6, First: 1, Last: 5, Skipped: 2}, "o: position 6, was 4; no record waits to be sent; SKIPPED 2 records, which this output does not get\n"},
	} {
		if got := rewoundLine("o", c.to, c.r); got != c.want {
			t.Errorf("got  %swant %s", got, c.want)
		}
	}
}
