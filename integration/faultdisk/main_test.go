package main

import "testing"

// TestKilled: a process whose first thread is gone is ending, and so is one whose first thread was told to go.
func TestKilled(t *testing.T) {
	for _, c := range []struct {
		status string
		want   bool
	}{
		{"Name:\tx\nState:\tS (sleeping)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n", false},
		{"Name:\tx\nState:\tZ (zombie)\nSigPnd:\t0000000000000000\n", true},
		{"Name:\tx\nState:\tD (disk sleep)\nSigPnd:\t0000000000000100\n", true},
		{"Name:\tx\nState:\tD (disk sleep)\nSigPnd:\t0000000000004000\n", false},
	} {
		if got := killed([]byte(c.status)); got != c.want {
			t.Errorf("killed(%q) = %v", c.status, got)
		}
	}
}
