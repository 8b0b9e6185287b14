package pack

import (
	"bytes"
	"testing"
)

func TestCutFront(t *testing.T) {
	own := (&Attributes{Timestamp: 5, Type: "app", Severity: 3, Fields: []Field{{Name: "a", Value: "mine"}}}).Append(nil)
	front := func(names ...string) []byte {
		about := Attributes{Severity: 7}
		for _, name := range names {
			about.Fields = append(about.Fields, Field{Name: name, Value: "x"})
		}
		return about.Append(nil)
	}
	for name, c := range map[string]struct {
		front, behind []byte
		cut           int
	}{
		"both":                        {front("a", "b"), own, 2},
		"in another order":            {front("b", "a"), own, 2},
		"one":                         {front("b"), own, 1},
		"nothing behind":              {front("a", "b"), nil, 2},
		"a name again belongs behind": {front("a"), append((&Attributes{}).appendRest(nil), front("a")[2:]...), 1},
		"another name":                {nil, front("c", "a"), 0},
		"attributes alone":            {nil, own, 0},
		"nothing":                     {nil, nil, 0},
		"no attributes":               {nil, []byte("\xff\xff\xff"), 0},
	} {
		fields, rest, err := CutFront(append(bytes.Clone(c.front), c.behind...), "a", "b")
		if err != nil || len(fields) != c.cut || !bytes.Equal(rest, c.behind) {
			t.Errorf("%s: %d fields and %q left (%v), want %d and %q", name, len(fields), rest, err, c.cut, c.behind)
		}
	}
	for _, bad := range []string{"\x28", "\x28\x07\x52\x05x", "\x28\x07\x52\x02\x0a\x05"} {
		if _, rest, err := CutFront([]byte(bad), "a"); err == nil || string(rest) != bad {
			t.Errorf("%q: left %q, error %v", bad, rest, err)
		}
	}
}

func FuzzCutFront(f *testing.F) {
	f.Add((&Attributes{Severity: 7, Fields: []Field{{Name: "a", Value: "x"}, {Name: "b", Value: int64(1)}}, Type: "t"}).Append(nil))
	f.Add([]byte("\x28\x07\x52\x02\x0a\x05"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, rest, err := CutFront(b, "a", "b")
		if !bytes.HasSuffix(b, rest) || len(fields) > 2 || (err != nil || len(fields) == 0) && len(rest) != len(b) {
			t.Errorf("%q: %d fields, %q left, %v", b, len(fields), rest, err)
		}
	})
}
