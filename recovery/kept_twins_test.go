package recovery

import (
	"strings"
	"testing"
)

// TestKeptTwice: nothing in quarantine is called the only copy of bytes that another file there has too.
func TestKeptTwice(t *testing.T) {
	b := brokenQueue(t)
	mustRepair(t, b.fs)
	whole, part := b.made[1].String()+damagedSuffix, ""
	for name, k := range listKept(t, b.fs) {
		if k.Kind == KeptBytes && k.Segment == b.made[1].String() {
			part = name
		}
	}
	why := func(name string) string {
		c, err := ShowQuarantined(b.fs, testDir, name)
		b.must(err)
		if listed := listKept(t, b.fs)[name].Why; listed != c.Why {
			t.Errorf("%s: the list says %q, show %q", name, listed, c.Why)
		}
		return c.Why
	}
	if got := why(part); !strings.Contains(got, "they stand in "+whole+" too") {
		t.Errorf("%s: %s", part, got)
	}
	if got := why(whole); strings.Contains(got, "only") || !strings.Contains(got, "end in .bin") {
		t.Errorf("%s: %s", whole, got)
	}
	edit(t, b.fs, inQuarantine(part), func(data []byte) []byte {
		data[0] ^= 1
		return data
	})
	if got := why(part); !strings.Contains(got, "the only copy") {
		t.Errorf("%s, altered: %s", part, got)
	}
	if got := why(whole); !strings.Contains(got, "the only copy of") {
		t.Errorf("%s, beside an altered one: %s", whole, got)
	}
}
