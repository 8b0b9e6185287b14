package torture

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logmule/integration/rig"
)

// numbers is a set of sequences: for each up to its length whether it is in it.
type numbers []bool

func (s numbers) with(first, last uint64) numbers {
	for uint64(len(s)) <= last {
		s = append(s, make(numbers, last+1-uint64(len(s)))...)
	}
	for n := first; n <= last && first > 0; n++ {
		s[n] = true
	}
	return s
}

func (s numbers) has(n uint64) bool { return n < uint64(len(s)) && s[n] }

func (s numbers) count() (n uint64) {
	for _, in := range s {
		if in {
			n++
		}
	}
	return n
}

// without are those that other does not have.
func (s numbers) without(other numbers) (rest numbers) {
	for n, in := range s {
		if in && !other.has(uint64(n)) {
			rest = rest.with(uint64(n), uint64(n))
		}
	}
	return rest
}

// and are those of both.
func (s numbers) and(other numbers) numbers {
	for n, in := range other {
		if in {
			s = s.with(uint64(n), uint64(n))
		}
	}
	return s
}

func (s numbers) equal(other numbers) bool {
	return s.without(other).count() == 0 && other.without(s).count() == 0
}

func (s numbers) String() string {
	var parts []string
	for n := 0; n < len(s); n++ {
		first := n
		for n < len(s) && s[n] {
			n++
		}
		if n > first {
			parts = append(parts, fmt.Sprintf("%d to %d", first, n-1))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts[:min(len(parts), 10)], ", ")
}

// told is what somebody says is lost.
type told struct {
	sum    uint64   // as the lines add up
	ranges numbers  // as they name them
	says   []string // what else
}

func (t *told) add(first, last, count uint64) {
	t.sum += count
	t.ranges = t.ranges.with(first, last)
}

// found is what fsck --json says.
type found struct {
	Clean   bool          `json:"clean"`
	Records uint64        `json:"records"`
	First   uint64        `json:"first_sequence"`
	Last    uint64        `json:"last_sequence"`
	Lost    uint64        `json:"lost_records"`
	Damage  []damagePlace `json:"damage"`
}

type damagePlace struct {
	Segment   string `json:"segment"`
	Cause     string `json:"cause"`
	Action    string `json:"action"`
	FirstLost uint64 `json:"first_lost"`
	LastLost  uint64 `json:"last_lost"`
}

// fsckOf runs it on a directory, also beside its daemon. Its exit status must fit what it says.
func fsckOf(t *testing.T, l *rig.Lab) (f found, code int) {
	t.Helper()
	code, out := l.Run("fsck", "--json", l.Data)
	at := strings.IndexByte(out, '{') // notes on stderr come before it
	if err := json.NewDecoder(strings.NewReader(out[max(at, 0):])).Decode(&f); err != nil {
		t.Fatalf("fsck exits %d, %v:\n%s", code, err, out)
	}
	if f.Clean != (code == 0) || f.Clean != (len(f.Damage) == 0) || code != 0 && code != 4 {
		t.Errorf("fsck exits %d, clean %v, with %d places of damage", code, f.Clean, len(f.Damage))
	}
	return f, code
}

// byReport is what fsck says is lost, and its exit status.
func (c *comparison) byReport() (t told, code int) {
	c.t.Helper()
	f, code := fsckOf(c.t, c.Lab)
	for _, d := range f.Damage {
		t.ranges = t.ranges.with(d.FirstLost, d.LastLost)
		t.says = append(t.says, d.Cause+": "+d.Action)
	}
	t.sum = f.Lost
	return t, code
}

// byLedger is what the loss ledger tells of. That records were never acknowledged must not stand there: all were.
func (c *comparison) byLedger() (t told) {
	c.t.Helper()
	file, err := os.ReadFile(filepath.Join(c.Data, "losses.jsonl"))
	if os.IsNotExist(err) {
		return t
	}
	must(c.t, err)
	rig.Lines(file, func(line []byte) {
		var l ledgerLine
		must(c.t, json.Unmarshal(line, &l))
		t.add(l.First, l.Last, l.Count)
		if l.Count > 0 && l.Acknowledged == "no" {
			c.t.Errorf("the ledger says of %d records that they were never acknowledged, which they were: %s", l.Count, line)
		}
	})
	return t
}

// byLog is what the daemon has logged, over all of its starts.
func (c *comparison) byLog() (t told) {
	c.t.Helper()
	seen := map[string]bool{}
	rig.Lines([]byte(c.Proc.Output()), func(line []byte) {
		var l struct {
			Level     string
			Msg       string
			First     uint64
			Last      uint64
			Records   uint64
			FirstLost uint64 `json:"first_lost"`
			LastLost  uint64 `json:"last_lost"`
		}
		if json.Unmarshal(line, &l) != nil {
			c.t.Errorf("the daemon printed %s", line)
			return
		}
		switch l.Msg {
		case "records lost to damage; the rest goes on":
			t.add(l.First, l.Last, l.Records)
		case "oldest records are gone before they were delivered":
			t.add(l.First, l.Last, l.Last-l.First+1)
		case "oldest records dropped, as when_full = drop_oldest says":
			t.add(0, 0, l.Records)
		case "damage found at start":
			if l.FirstLost > 0 {
				t.add(l.FirstLost, l.LastLost, l.LastLost-l.FirstLost+1)
			}
		}
		if l.Level != "INFO" && l.Level != "DEBUG" && !seen[l.Msg] {
			seen[l.Msg] = true
			t.says = append(t.says, l.Msg)
		}
	})
	return t
}
