package pack

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// records builds a records body of the given messages.
func records(own ...string) []byte {
	var body []byte
	for _, o := range own {
		body = AppendOwn(body, []byte(o))
	}
	return body
}

func collect(form Form, body []byte) (all []string, err error) {
	err = Each(form, body, func(own []byte) error {
		all = append(all, string(own))
		return nil
	})
	return all, err
}

func TestEach(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 300))
	for name, c := range map[string]struct {
		form Form
		body []byte
		want []string
		bad  bool
	}{
		"no lines":             {Lines, nil, nil, false},
		"lines":                {Lines, []byte("a\nbb\n"), []string{"a", "bb"}, false},
		"CR belongs to it":     {Lines, []byte("a\r\n\r\n"), []string{"a\r", "\r"}, false},
		"empty lines":          {Lines, []byte("\n\na\n\n"), []string{"", "", "a", ""}, false},
		"any byte":             {Lines, []byte("\x00\xff\n"), []string{"\x00\xff"}, false},
		"form zero is lines":   {0, []byte("a\n"), []string{"a"}, false},
		"last LF missing":      {Lines, []byte("a\nb"), []string{"a"}, true},
		"no records":           {Records, nil, nil, false},
		"records":              {Records, records("a", "", "c\nd", long), []string{"a", "", "c\nd", long}, false},
		"record cut":           {Records, records("a", "bcd")[:4], []string{"a"}, true},
		"length cut":           {Records, records("a", long)[:3], []string{"a"}, true},
		"length beyond uint64": {Records, bytes.Repeat([]byte{0xff}, 12), nil, true},
		"length huge":          {Records, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'a'}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := collect(c.form, c.body)
			if !slices.Equal(got, c.want) {
				t.Errorf("records %q, want %q", got, c.want)
			}
			if errors.Is(err, ErrBody) != c.bad || (err != nil) != c.bad {
				t.Errorf("error %v, want one: %v", err, c.bad)
			}
		})
	}
}

func TestEachStopsAtTheFirstError(t *testing.T) {
	stop := errors.New("stop")
	calls := 0
	err := Each(Lines, []byte("a\nb\n"), func([]byte) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("error %v after %d calls, want the callback's own after 1", err, calls)
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		form  Form
		body  string
		limit int
		head  string
		count int
	}{
		{Lines, "a\nbb\nccc\n", 100, "a\nbb\nccc\n", 3},
		{Lines, "a\nbb\nccc\n", 9, "a\nbb\nccc\n", 3},
		{Lines, "a\nbb\nccc\n", 8, "a\nbb\n", 2},
		{Lines, "a\nbb\nccc\n", 5, "a\nbb\n", 2},
		{Lines, "a\nbb\nccc\n", 4, "a\n", 1},
		{Lines, "aaaa\nb\n", 2, "aaaa\n", 1},
		{Lines, "aaaa\nb\n", 0, "aaaa\n", 1},
		{Lines, "aaaa\nb\n", -1, "aaaa\n", 1},
		{Lines, "\n\n\n", 2, "\n\n", 2},
		{Lines, "", 10, "", 0},
		{Lines, "a\nno end", 100, "a\n", 1},
		{Lines, "no end", 3, "no end", 0},
		{Records, string(records("a", "bb", "ccc")), 100, string(records("a", "bb", "ccc")), 3},
		{Records, string(records("a", "bb", "ccc")), 5, string(records("a", "bb")), 2},
		{Records, string(records("a", "bb", "ccc")), 4, string(records("a")), 1},
		{Records, string(records("aaaa", "b")), 2, string(records("aaaa")), 1},
		{Records, string(records("aaaa", "b")), -1, string(records("aaaa")), 1},
		{Records, "", 10, "", 0},
		{Records, "\x01a\x05b", 100, "\x01a", 1},
		{Records, "\x05b", 100, "\x05b", 0},
	} {
		t.Run(fmt.Sprintf("%s %q by %d", c.form, c.body, c.limit), func(t *testing.T) {
			head, count, rest := Split(c.form, []byte(c.body), c.limit)
			if string(head) != c.head || count != c.count || string(rest) != c.body[len(c.head):] {
				t.Errorf("got %q (%d) and %q, want %q (%d) and %q", head, count, rest, c.head, c.count, c.body[len(c.head):])
			}
		})
	}
}

func TestLinesCostNoAllocation(t *testing.T) {
	body := bytes.Repeat([]byte("a line of some length\n"), 1000)
	var r Record
	shared := (&Attributes{Timestamp: 1, Type: "app", Logger: "127.0.0.1:5", Hostname: "here", Severity: 7}).Append(nil)
	count := 0
	read := func(own []byte) error { count++; return r.Decode(shared, own, Lines) }
	if n := testing.AllocsPerRun(10, func() {
		if _, n, _ := Split(Lines, body, 10_000); n != 454 {
			t.Fatalf("%d lines in the head", n)
		}
		if n := CountLines(body); n != 1000 {
			t.Fatalf("%d lines", n)
		}
		if err := Each(Lines, body, read); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a run", n)
	}
}

func TestRelease(t *testing.T) {
	for _, c := range []struct{ size, keep int }{{100, 100}, {keepBody, keepBody}, {keepBody + 1, 0}} {
		p := &Pack{
			Source: "s", Position: []byte("p"), Form: Records, Count: 1, Body: make([]byte, c.size),
			Shared: Attributes{Type: "t", Fields: []Field{{Name: "f"}}},
		}
		p.Release()
		if cap(p.Body) != c.keep || len(p.Body) != 0 {
			t.Errorf("a body of %d bytes leaves %d with capacity %d, want 0 with %d", c.size, len(p.Body), cap(p.Body), c.keep)
		}
		if p.Source != "" || p.Position != nil || p.Form != 0 || p.Count != 0 || p.Shared.Type != "" || p.Shared.Fields != nil {
			t.Errorf("a released pack still holds %+v", p)
		}
	}
	if p := Get(); p == nil || len(p.Body) != 0 || p.Count != 0 {
		t.Errorf("Get gave %+v, want an empty pack", p)
	}
}

// FuzzBody: walking and cutting any bytes ends, loses nothing, and both agree on the count.
func FuzzBody(f *testing.F) {
	f.Add(true, []byte("a\nbb\n\nccc\n"), 4)
	f.Add(false, records("a", "", "bb"), 3)
	f.Add(false, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1}, 3)
	f.Fuzz(func(t *testing.T, lines bool, body []byte, limit int) {
		form := Records
		if lines {
			form = Lines
		}
		all, err := collect(form, body)
		var joined []byte
		total := 0
		for rest := body; len(rest) > 0; {
			var head []byte
			var n int
			head, n, rest = Split(form, rest, limit)
			if len(head) == 0 {
				t.Fatalf("no progress with %q left", rest)
			}
			if n > 1 && len(head) > limit {
				t.Fatalf("a head of %d records has %d bytes, limit %d", n, len(head), limit)
			}
			joined = append(joined, head...)
			total += n
		}
		if !bytes.Equal(joined, body) {
			t.Fatalf("the parts join to %q", joined)
		}
		if err == nil && total != len(all) {
			t.Fatalf("%d records in the parts, %d in the body", total, len(all))
		}
		if form == Lines && CountLines(body) != len(all) {
			t.Fatalf("%d lines counted, %d walked", CountLines(body), len(all))
		}
	})
}
