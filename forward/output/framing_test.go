package output

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"logmule/forward/codec"
	"logmule/forward/config"
	"logmule/forward/pack"
)

func mustFormat(t *testing.T, codecName, framing string, most config.Bytes) *format {
	t.Helper()
	f, err := newFormat(codecName, framing, most)
	if err != nil {
		t.Fatal(err)
	}
	return &f
}

// sent is what a batch looks like on the way.
func sent(b *Batch, f *format) string {
	return string(bytes.Join(b.appendFramed(nil, 0, b.Len(), f), nil))
}

func TestFramings(t *testing.T) {
	for _, c := range []struct{ framing, want string }{
		{newlineFraming, "one\n\ntwo\nlines\nthree\r\n"},
		{octetFraming, "3 one0 9 two\nlines6 three\r"},
		{lengthFraming, "\x00\x00\x00\x03one\x00\x00\x00\x00\x00\x00\x00\x09two\nlines\x00\x00\x00\x06three\r"},
		{noFraming, "onetwo\nlinesthree\r"},
	} {
		b := batchOf("", linesRun("one", ""), recordsRun("two\nlines", "three\r"))
		if got := sent(b, mustFormat(t, codec.Plain, c.framing, 0)); got != c.want {
			t.Errorf("%q: got %q, want %q", c.framing, got, c.want)
		}
		if b.Pending() != 4 {
			t.Errorf("%q: rejected %v", c.framing, b.Rejected())
		}
	}
}

// TestFramedRangesAndPending frames a part of a batch of which some is settled.
func TestFramedRangesAndPending(t *testing.T) {
	b := batchOf("", linesRun("a", "b", "c"), recordsRun("d", "e"), linesRun("f"))
	b.Accept(1)
	b.Reject(4, "x")
	f := mustFormat(t, codec.Plain, octetFraming, 0)
	if got := string(bytes.Join(b.appendFramed(nil, 1, 6, f), nil)); got != "1 c1 d1 f" {
		t.Errorf("got %q", got)
	}
	if got := fmt.Sprint(b.inner); got != "[{0 3} {3 6} {6 9}]" {
		t.Errorf("ranges %s", got)
	}
}

// TestHekaFrame holds frames against the bytes that Heka's documents give.
func TestHekaFrame(t *testing.T) {
	r := pack.Record{Payload: []byte("hi"), Attributes: pack.Attributes{
		UUID: []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Timestamp: 1400000000e9, Type: "t", Severity: 6,
	}}
	b := batchOf("", Run{Form: pack.Records, Count: 1, Body: pack.AppendOwn(nil, r.Append(nil))})
	got := hex.EncodeToString([]byte(sent(b, mustFormat(t, codec.Plain, hekaFraming, 0))))
	want := "1e0208251f" + "0a10000102030405060708090a0b0c0d0e0f" + "108080e2aedfeeccb713" + "1a0174" + "2806" + "32026869"
	if len(got) != len(want) || got[:14] != want[:14] || got[len(got)-18:] != want[len(want)-18:] {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	long := strings.Repeat("x", 300)
	b = batchOf("", Run{Form: pack.Lines, Count: 1, Body: []byte(long + "\n")})
	line := []byte(sent(b, mustFormat(t, codec.Plain, hekaFraming, 0)))
	size, n := protowire.ConsumeVarint(line[3:])
	if line[0] != 0x1e || int(line[1]) != 1+n || line[2] != 8 || line[3+n] != 0x1f || int(size) != len(line)-4-n {
		t.Errorf("header % x of %d bytes", line[:8], len(line))
	}
}

// TestHekaNeeds demands what Heka demands, a UUID and a timestamp, and that a record has the same UUID however often and
// in whatever batch it is sent.
func TestHekaNeeds(t *testing.T) {
	f := mustFormat(t, codec.Plain, hekaFraming, 0)
	uuids := func(id string, first uint64, runs ...Run) (all []string) {
		b := batchOf(id, runs...)
		b.First = first
		rest := []byte(sent(b, f))
		for len(rest) > 0 {
			head := 3 + int(rest[1])
			size, _ := protowire.ConsumeVarint(rest[3:])
			message := rest[head : head+int(size)]
			var r pack.Record
			if err := r.Decode(nil, message, pack.Records); err != nil || len(r.UUID) != 16 {
				t.Fatalf("%v, UUID % x", err, r.UUID)
			}
			if !bytes.Contains(message, []byte{byte(hekaTimestamp) << 3}) {
				t.Errorf("% x has no timestamp", message)
			}
			all = append(all, string(r.UUID))
			rest = rest[head+int(size):]
		}
		return all
	}
	bare := Run{Form: pack.Lines, Count: 3, Body: []byte("a\nb\nb\n")}
	all := uuids("q-1.0f-10-12", 10, bare)
	if len(all) != 3 || all[0] == all[1] || all[1] == all[2] {
		t.Fatalf("UUIDs %x", all)
	}
	if later := uuids("q-1.0f-11-11", 11, Run{Form: pack.Lines, Count: 1, Body: []byte("b\n")}); later[0] != all[1] {
		t.Errorf("the record has the UUID %x in one batch and %x in another", all[1], later[0])
	}
	if other := uuids("q-2.0f-10-12", 10, bare); other[0] == all[0] {
		t.Error("a record of another epoch has the same UUID")
	}
}

func TestFramingRejects(t *testing.T) {
	b := batchOf("", recordsRun("short", strings.Repeat("x", 100), "two\nlines", "last"))
	f := mustFormat(t, "syslog", newlineFraming, 90)
	got := sent(b, f)
	if lines := strings.Split(got, "\n"); len(lines) != 3 || !strings.HasSuffix(lines[0], " - short") || !strings.HasSuffix(lines[1], " - last") {
		t.Errorf("got %q", got)
	}
	reasons := fmt.Sprint(b.Rejected())
	if len(b.Rejected()) != 2 || !strings.Contains(reasons, "max_record = 90") || !strings.Contains(reasons, `"octet-counted" can carry it`) {
		t.Errorf("rejected: %s", reasons)
	}
	b = batchOf("", recordsRun("two\nlines"))
	if got := sent(b, mustFormat(t, "syslog", octetFraming, 0)); !strings.HasSuffix(got, " - two\nlines") || b.Pending() != 1 {
		t.Errorf("got %q, rejected %v", got, b.Rejected())
	}
	if got := string(bytes.Join(b.AppendEncoded(nil, 0, 1, mustFormat(t, "syslog", octetFraming, 0).encoder), nil)); !strings.HasSuffix(got, " - two\nlines\n") {
		t.Errorf("got %q", got)
	}
	if got := string(bytes.Join(b.AppendEncoded(nil, 0, 1, nil), nil)); got != "two\nlines\n" {
		t.Errorf("got %q", got)
	}
}

// TestEncodedWithSharedAttributes demands that an encoder sees what the records of a run share.
func TestEncodedWithSharedAttributes(t *testing.T) {
	shared := pack.Attributes{Timestamp: 1e9, Hostname: "host", Logger: "app", Severity: 4, Pid: 7}
	b := batchOf("", Run{Form: pack.Lines, Count: 1, Attributes: shared.Append(nil), Body: []byte("text\n")})
	if got, want := sent(b, mustFormat(t, "syslog", noFraming, 0)), "<12>1 1970-01-01T00:00:01.000000Z host app 7 - - text"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestWindowModelFramed compares the window of framed records with a list of them, as TestWindowModel does for lines.
func TestWindowModelFramed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := window{limit: rapid.SampledFrom([]int{0, 1, 7, 40, 200}).Draw(t, "limit")}
		f, err := newFormat(codec.Plain, rapid.SampledFrom([]string{octetFraming, lengthFraming, hekaFraming}).Draw(t, "framing"), 0)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			texts := rapid.SliceOfN(rapid.StringMatching(`[a-z\n]{0,9}`), 1, 6).Draw(t, "texts")
			b := batchOf("", recordsRun(texts...))
			lines := b.appendFramed(nil, 0, b.Len(), &f)
			for _, s := range b.inner {
				all = append(all, string(lines[0][s.from:s.to]))
			}
			w.add(lines, b.inner)
			if rapid.IntRange(0, 5).Draw(t, "crowd") == 0 {
				w.buf = w.buf[:len(w.buf):len(w.buf)]
			}
			want := ""
			for i := len(all) - 1; i >= 0 && len(want) < w.limit; i-- {
				want = all[i] + want
			}
			if got := string(w.bytes()); got != want {
				t.Fatalf("window of %d: %q, want %q", w.limit, got, want)
			}
		}
	})
}

func TestFramingAllocatesNothing(t *testing.T) {
	b := batchOf("", recordsRun("one", "two"), recordsRun("three", "four"))
	for _, f := range []*format{mustFormat(t, codec.Plain, octetFraming, 0), mustFormat(t, "syslog", octetFraming, 0)} {
		lines := b.appendFramed(nil, 0, b.Len(), f)
		if n := testing.AllocsPerRun(100, func() { lines = b.appendFramed(lines[:0], 0, b.Len(), f) }); n > 0 {
			t.Errorf("%v allocations per batch", n)
		}
	}
}
