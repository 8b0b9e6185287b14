package queue

import (
	"testing"

	"logmule/checkpoint"
)

func TestProgress(t *testing.T) {
	var p progress
	p.floor = 1
	p.given(place{first: 1, last: 10})
	p.given(place{first: 11, last: 20})
	for _, step := range []struct {
		first, last, floor uint64
		done               checkpoint.Ranges
		frames             int
	}{
		{5, 6, 1, checkpoint.Ranges{{First: 5, Last: 6}}, 2},
		{8, 8, 1, checkpoint.Ranges{{First: 5, Last: 6}, {First: 8, Last: 8}}, 2},
		{7, 7, 1, checkpoint.Ranges{{First: 5, Last: 8}}, 2},
		{15, 16, 1, checkpoint.Ranges{{First: 5, Last: 8}, {First: 15, Last: 16}}, 2},
		{12, 18, 1, checkpoint.Ranges{{First: 5, Last: 8}, {First: 12, Last: 18}}, 2},
		{1, 4, 9, checkpoint.Ranges{{First: 12, Last: 18}}, 2},
		{1, 4, 9, checkpoint.Ranges{{First: 12, Last: 18}}, 2},
		{9, 11, 19, nil, 1},
		{19, 20, 21, nil, 0},
	} {
		p.settle(nil, checkpoint.Range{First: step.first, Last: step.last})
		if p.floor != step.floor || len(p.frames) != step.frames || len(p.done) != len(step.done) {
			t.Fatalf("after %d..%d: floor %d, done %v, %d frames; want %+v", step.first, step.last, p.floor, p.done, len(p.frames), step)
		}
		for i, d := range step.done {
			if p.done[i] != d {
				t.Fatalf("after %d..%d: done %v, want %v", step.first, step.last, p.done, step.done)
			}
		}
	}
}
