package segment

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := Name{First: rapid.Uint64().Draw(t, "first"), Salt: rapid.Uint64().Draw(t, "salt")}
		if got, ok := ParseName(n.String()); !ok || got != n {
			t.Fatalf("%s parsed as %v, %v", n, got, ok)
		}
	})
}

func TestNamesSortBySequence(t *testing.T) {
	names := []string{
		Name{First: math.MaxUint64, Salt: 0}.String(),
		Name{First: 9, Salt: 5}.String(),
		Name{First: 10, Salt: 1}.String(),
	}
	slices.Sort(names)
	want := []string{
		"00000000000000000009-0000000000000005.seg",
		"00000000000000000010-0000000000000001.seg",
		"18446744073709551615-0000000000000000.seg",
	}
	if !slices.Equal(names, want) {
		t.Errorf("got %q", names)
	}
}

func TestParseNameRejects(t *testing.T) {
	good := "00000000000000000009-00000000000000ab.seg"
	if _, ok := ParseName(good); !ok {
		t.Fatal("the good name is refused")
	}
	for _, s := range []string{
		"", "x.seg", good + ".tmp", "../" + good, good[1:], strings.ToUpper(good),
		"99999999999999999999-00000000000000ab.seg", // above 64 bits
		"0000000000000000009 -00000000000000ab.seg",
		"+0000000000000000009-00000000000000ab.seg",
		"00000000000000000009_00000000000000ab.seg",
		"00000000000000000009-00000000000000aB.seg",
		"00000000000000000009-+0000000000000ab.seg",
		"00000000000000000009-00000000000000ab.SEG",
		"00000000000000000009-00000000000000ab.dat",
	} {
		if n, ok := ParseName(s); ok {
			t.Errorf("%q parsed as %v", s, n)
		}
	}
}

func TestID(t *testing.T) {
	id := ID{0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	const want = "deadbeef-0102-0304-0506-0708090a0b0c"
	if id.String() != want {
		t.Errorf("got %s, want %s", id, want)
	}
	if got, err := ParseID(want); err != nil || got != id {
		t.Errorf("parsed as %v, %v", got, err)
	}
	for _, s := range []string{"", want[1:], strings.ToUpper(want), strings.ReplaceAll(want, "-", ""), want[:8] + want[9:] + "-", "x" + want[1:]} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("%q was parsed", s)
		}
	}
}

func TestFreshValuesDiffer(t *testing.T) {
	ids, salts, epochs := map[ID]bool{}, map[uint64]bool{}, map[Epoch]bool{}
	for range 100 {
		e := NewEpoch(3)
		if e.Starts != 3 || e.Random == 0 {
			t.Errorf("epoch %v", e)
		}
		ids[NewID()], salts[NewSalt()], epochs[e] = true, true, true
	}
	if len(ids) != 100 || len(salts) != 100 || len(epochs) != 100 || salts[0] {
		t.Errorf("%d ids, %d salts, %d epochs in 100 draws", len(ids), len(salts), len(epochs))
	}
}
