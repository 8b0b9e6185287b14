package hekaqueue

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"logmule/queue/vfs"
)

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// three is a file of records n to n+2.
func three(n int) []byte {
	return join(frame(message(n, "a")), frame(message(n+1, "b")), frame(message(n+2, "c")))
}

// A torn tail with a file behind it stops Heka for ever. Here it costs the torn record.
func TestTornTail(t *testing.T) {
	first := three(0)
	last := len(frame(message(2, "c")))
	for cut := 1; cut < last; cut++ {
		s := scan(t, vfs.OS(), build(t, map[string][]byte{"5.log": first[:len(first)-cut], "6.log": three(3), "checkpoint.txt": []byte("5 0")}))
		if got, want := s.payloads(), []string{"intact a", "intact b", "intact a", "intact b", "intact c"}; !slices.Equal(got[:1], want[:1]) || !slices.Equal(got[2:], want[2:]) || len(s.skips) != 1 {
			t.Fatalf("%d bytes cut: %q, %+v", cut, got, s.skips)
		}
		k := s.skips[0]
		if !k.Torn || k.File != "5.log" || k.To != int64(len(first)-cut) || k.To-k.From != int64(last-cut) || !s.files[0].Torn || s.files[1].Torn {
			t.Errorf("%d bytes cut: %+v", cut, k)
		}
	}
}

func TestClasses(t *testing.T) {
	base := number(attribute(nil, 1, uuidOf(1)), 2, 5)
	with := func(num uint64, value string) []byte { return attribute(slices.Clone(base), num, value) }
	for name, c := range map[string]struct {
		message []byte
		doubts  Doubts
		bad     badMessage
	}{
		"small":                     {base, 0, fine},
		"negative number, 5 bytes":  {number(slices.Clone(base), 5, 1<<32-1), 0, fine},
		"negative number, 10 bytes": {number(slices.Clone(base), 5, 1<<64-1), 0, fine},
		"empty texts":               {attribute(with(6, ""), 3, ""), 0, fine},
		"any bytes in it":           {with(6, "\x1e\x1f"), 0, fine},
		"NULs":                      {with(9, "host"+strings.Repeat("\x00", 16)), Zeros, fine},
		"few NULs":                  {with(9, "host"+strings.Repeat("\x00", 15)), 0, fine},
		"NUL uuid":                  {number(attribute(nil, 1, strings.Repeat("\x00", 16)), 2, 5), Zeros, fine},
		"not UTF-8":                 {with(6, "\xff"), NotUTF8, fine},
		"no timestamp":              {attribute(nil, 1, uuidOf(1)), NoTimestamp, fine},
		"type twice":                {attribute(with(3, "a"), 3, "b"), Twice, fine},
		"unknown attribute":         {with(14, "x"), Unknown, fine},
		"strings":                   {with(10, string(fieldOf(0, "f"))), 0, fine},
		"same name again":           {attribute(with(10, string(fieldOf(0, "f"))), 10, string(fieldOf(3, "f"))), 0, fine},
		"no value":                  {with(10, "\x0a\x01f"), NoValue, fine},
		"unknown type of value":     {with(10, string(number(attribute(attribute(nil, 1, "f"), 4, "v"), 2, 5))), Unknown, fine},
		"unknown in a field":        {with(10, string(attribute(fieldOf(0, "f"), 9, ""))), Unknown, fine},
		"NULs in a field":           {with(10, string(attribute(fieldOf(0, "f"), 4, strings.Repeat("\x00", 20)))), Zeros, fine},
		"nothing":                   {nil, 0, noUUID},
		"zeros":                     {make([]byte, 40), 0, badTag},
		"no uuid":                   {attribute(number(nil, 2, 5), 6, "x"), 0, noUUID},
		"short uuid":                {attribute(nil, 1, "short"), 0, badUUID},
		"wrong type":                {append(slices.Clone(base), 6<<3|4), 0, badType},
		"group":                     {append(slices.Clone(base), 12<<3|3), 0, badType},
		"length beyond":             {append(slices.Clone(base), 6<<3|2, 5, 'x'), 0, badLength},
		"length of 2^63":            {append(slices.Clone(base), 6<<3|2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), 0, badLength},
		"number without end":        {append(slices.Clone(base), 5<<3, 0xff), 0, badNumber},
		"number too long":           {append(append(slices.Clone(base), 5<<3), bytes.Repeat([]byte{0xff}, 11)...), 0, badNumber},
		"half a tag":                {append(slices.Clone(base), 0x80), 0, badTag},
		"field without a name":      {with(10, "\x10\x00\x22\x01v"), 0, noName},
		"field broken inside":       {with(10, "\x0a\x05f"), 0, badField},
		"field of a wrong type":     {with(10, "\x0a\x01f\x12\x01v"), 0, badField},
		"half a double":             {with(10, "\x0a\x01f\x10\x03\x3a\x05aaaaa"), 0, badField},
		"half a packed number":      {with(10, "\x0a\x01f\x10\x02\x32\x01\xff"), 0, badField},
	} {
		_, doubts, bad := judge(c.message, len(c.message))
		if doubts != c.doubts || bad != c.bad {
			t.Errorf("%s: %07b, %d: %v; want %07b, %d", name, doubts, bad, bad, c.doubts, c.bad)
		}
		for i := range c.message {
			if _, _, bad := judge(c.message[:i], len(c.message)); c.bad == fine && bad != cutMessage {
				t.Errorf("%s, first %d of %d bytes: %v", name, i, len(c.message), bad)
			}
		}
	}
}

func TestRepeatedUUID(t *testing.T) {
	s := scanBytes(t, frame(number(attribute(nil, 1, string(noBytes[:])), 2, 5)))
	if s.records[0].Doubts != Zeros {
		t.Errorf("a uuid of NULs: %07b", s.records[0].Doubts)
	}
	s = scanBytes(t, join(three(0), frame(message(1, "again"))))
	if r := s.records[3]; r.Class != Suspect || r.Doubts != Repeated || s.report.Waiting.Suspect != 1 || s.report.Waiting.Intact != 3 {
		t.Errorf("%+v", s.report)
	}
	var said []string
	s.report.Waiting.ByDoubt(func(text string, n uint64) { said = append(said, text) })
	if !slices.Equal(said, []string{"the uuid of an earlier record"}) {
		t.Errorf("%q", said)
	}
}

func TestHeaders(t *testing.T) {
	m := message(0, "x")
	good := frame(m)
	for name, c := range map[string]struct {
		content []byte
		whole   bool
	}{
		"unsigned":                  {good, true},
		"signed":                    {signed(m), true},
		"long":                      {frame(message(0, strings.Repeat("y", 300))), true},
		"longer":                    {frame(message(0, strings.Repeat("y", 70000))), true},
		"header too short":          {join(good[:1], []byte{1}, good[2:]), false},
		"no length":                 {join(good[:2], []byte{0x10}, good[3:]), false},
		"no 0x1F":                   {join(good[:4], []byte{0}, good[5:]), false},
		"long form of a length":     {join([]byte{frameStart, 3, tagLength, good[3] | 0x80, 0, headerEnd}, m), false},
		"something in the header":   {join([]byte{frameStart, 4, tagLength, good[3], 2 << 3, 1, headerEnd}, m), false},
		"digest of a wrong length":  {join([]byte{frameStart, 5, tagLength, good[3], 6<<3 | 2, 1, 'd', headerEnd}, m), false},
		"signer longer than header": {join([]byte{frameStart, 5, tagLength, good[3], 4<<3 | 2, 9, 'd', headerEnd}, m), false},
		"nothing in it":             {[]byte{frameStart, 2, tagLength, 0, headerEnd}, false},
	} {
		s := scan(t, vfs.OS(), build(t, map[string][]byte{"0.log": join(c.content, three(1))}))
		if n := len(s.records); c.whole && n != 4 || !c.whole && n != 3 {
			t.Errorf("%s: %d records, %+v", name, n, s.skips)
		} else if c.whole && !bytes.Equal(s.records[0].Frame, c.content) {
			t.Errorf("%s: the frame is %q", name, s.records[0].Frame)
		}
	}
}

func TestCheckpoint(t *testing.T) {
	size := len(frame(message(0, "a")))
	torn := join(three(6), frame(message(9, "torn"))[:9])
	for text, waiting := range map[string]int{
		"0 0": 9, "7 0": 6, "12 0": 3, // files before are done
		"7 36": 5, "7 36\n": 5, "  7 36 \x00\x00": 5, "7 72": 4, "7 108": 3, // a record begins there, or it is the end
		"12 108": 0, "12 117": 0, // behind the last record, and the exact end of a torn file
		"7 35": 9, "7 37": 9, "7 109": 9, "7 99999999": 9, // inside a record, beyond the end
		"3 0": 9, "42 100": 9, // no such file
		"": 9, "garbage": 9, "7": 9, "7 -1": 9, "7 0x10": 9, "7  36": 9, "7\t41": 9, "\x00\x00\x00": 9, "7 36 9": 9, "+7 36": 9,
		"7 036": 9, "07 36": 9, // old digits behind a shorter number
		"7 " + strings.Repeat("9", 30): 9, strings.Repeat(" ", 100) + "7 36": 9,
	} {
		if size != 36 {
			t.Fatalf("a frame has %d bytes", size)
		}
		s := scan(t, vfs.OS(), build(t, map[string][]byte{"0.log": three(0), "7.log": three(3), "12.log": torn, "checkpoint.txt": []byte(text)}))
		if got := int(s.report.Waiting.Records); got != waiting || int(s.report.Delivered.Records) != 9-waiting {
			t.Errorf("%q: %d wait, want %d; %+v", text, got, waiting, s.queue.Checkpoint)
		}
		if c := s.queue.Checkpoint; c.Believed == (c.Why != "") {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

// The record that the checkpoint is at may be the one that is destroyed: the one before it ends there.
func TestCheckpointAtDamage(t *testing.T) {
	content := three(0)
	content[36+20] ^= 0x40
	content[36+5] ^= 0x40
	s := scan(t, vfs.OS(), build(t, map[string][]byte{"0.log": content, "checkpoint.txt": []byte("0 36")}))
	if got := s.payloads(); !slices.Equal(got, []string{"intact c"}) {
		t.Errorf("%q, %+v", got, s.queue.Checkpoint)
	}
}

func TestListing(t *testing.T) {
	dir := build(t, map[string][]byte{
		"9.log": three(0), "10.log": three(3), "15.log": nil, "x.log": three(9), "1.log.bak": three(12), "99999999999999999999999.log": three(20), "010.log": three(6),
		"checkpoint.txt": []byte("10 0"),
	})
	if err := os.Mkdir(filepath.Join(dir, "3.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := scan(t, vfs.OS(), dir)
	var names []string
	for _, f := range s.files {
		names = append(names, f.File.Name)
	}
	if !slices.Equal(names, []string{"9.log", "10.log", "010.log", "15.log"}) {
		t.Errorf("%q", names)
	}
	if !slices.Equal(s.queue.Missing, []Gap{{11, 14}}) || s.queue.Missing[0].String() != "11.log to 14.log" {
		t.Errorf("%v", s.queue.Missing)
	}
	if !slices.Equal(s.queue.Strangers, []string{"1.log.bak", "3.log", "99999999999999999999999.log", "x.log"}) {
		t.Errorf("%q", s.queue.Strangers)
	}
	if s.report.Delivered.Records != 3 || s.report.Waiting.Records != 6 || s.queue.Name() != "relay" {
		t.Errorf("%+v", s.report)
	}
}

func TestNoQueue(t *testing.T) {
	queue := build(t, map[string][]byte{"0.log": three(0)})
	base := t.TempDir()
	for _, name := range []string{"a", "b"} {
		dir := filepath.Join(base, "output_queue", name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "0.log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var nested *NestedError
	for path, want := range map[string]int{base: 2, filepath.Join(base, "output_queue"): 2, filepath.Dir(queue): 1} {
		if _, err := Open(t.Context(), vfs.OS(), path); !errors.As(err, &nested) || len(nested.Queues) != want || !errors.Is(err, ErrNoQueue) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if q, err := Open(t.Context(), vfs.OS(), build(t, map[string][]byte{"checkpoint.txt": []byte("3 0")})); err != nil || len(q.Files) > 0 {
		t.Errorf("a queue of which all is delivered: %v", err)
	}
	if _, err := Open(t.Context(), vfs.OS(), t.TempDir()); !errors.Is(err, ErrNoQueue) || errors.As(err, new(*NestedError)) {
		t.Errorf("empty: %v", err)
	}
	if _, err := Open(t.Context(), vfs.OS(), filepath.Join(base, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// One file of frames is a queue without a checkpoint.
func TestSingleFile(t *testing.T) {
	file := filepath.Join(build(t, map[string][]byte{"stream.bin": join(signed(message(0, "a")), frame(message(1, "b")))}), "stream.bin")
	s := scan(t, vfs.OS(), file)
	if got := s.payloads(); !slices.Equal(got, []string{"intact a", "intact b"}) || s.queue.Checkpoint.Why != "" {
		t.Errorf("%q", got)
	}
}

func TestScanEnds(t *testing.T) {
	q, err := Open(t.Context(), vfs.OS(), build(t, map[string][]byte{"0.log": three(0), "1.log": three(3)}))
	if err != nil {
		t.Fatal(err)
	}
	var passed []int64
	if _, err := q.Scan(t.Context(), Visitor{Progress: func(done, total int64) { passed = append(passed, done, total) }}); err != nil || !slices.Equal(passed, []int64{108, 216, 216, 216}) {
		t.Errorf("progress is %v, %v", passed, err)
	}
	mine := errors.New("mine")
	n := 0
	_, err = q.Scan(t.Context(), Visitor{Record: func(*Record) error {
		if n++; n == 4 {
			return mine
		}
		return nil
	}})
	if err != mine || n != 4 {
		t.Errorf("%v after %d records", err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := os.WriteFile(filepath.Join(q.Path, "1.log"), make([]byte, 3*passEvery), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Scan(ctx, Visitor{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if err := os.Remove(filepath.Join(q.Path, "0.log")); err != nil {
		t.Fatal(err)
	}
	report, err := q.Scan(t.Context(), Visitor{})
	if err != nil || len(report.Failed) != 1 || !errors.Is(report.Failed[0], os.ErrNotExist) {
		t.Errorf("a file has gone: %v, %v", err, report.Failed)
	}
}
