package input

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"logmule/forward/pack"
)

// newFraming makes the framing of that name.
func newFraming(name string) framing {
	switch name {
	case "octet-counted":
		return new(octets)
	case "length-prefixed":
		return prefixed{}
	}
	return new(heka)
}

// played is what came of a stream.
type played struct {
	lines []line
	all   []pack.Record
	packs []pack.Pack
	env   Env
	err   error
}

// playFrames reads a script to its end.
func playFrames(t testing.TB, framing string, s *script, limit int) played {
	t.Helper()
	env, got := testEnv(64<<20), new(whole)
	r := newFrames(&env, s, got.emit, limit, new(sparing), new(sparing), "peer", newFraming(framing))
	err := r.run(t.Context())
	if used := env.Memory.Used(); used != 0 {
		t.Errorf("%d bytes of the budget not given back", used)
	}
	p := played{all: got.records, packs: got.packs, env: env, err: err}
	for _, record := range got.records {
		cut := slices.ContainsFunc(record.Fields, func(f pack.Field) bool { return f.Name == "truncated" })
		p.lines = append(p.lines, line{string(record.Payload), cut})
	}
	return p
}

// message is a Heka message with that payload.
func message(payload string) string {
	r := pack.Record{Attributes: pack.Attributes{UUID: []byte("0123456789abcdef"), Timestamp: 5, Type: "t", Severity: 3, Hostname: "there"}, Payload: []byte(payload)}
	return string(r.Append(nil))
}

// frame puts a record into its frame.
func frame(framing, record string) string {
	switch framing {
	case "octet-counted":
		return fmt.Sprintf("%d %s", len(record), record)
	case "length-prefixed":
		return string(binary.BigEndian.AppendUint32(nil, uint32(len(record)))) + record
	}
	own := message(record)
	header := binary.AppendUvarint([]byte{8}, uint64(len(own)))
	return "\x1e" + string(rune(len(header))) + string(header) + "\x1f" + own
}

var withLength = []string{"octet-counted", "length-prefixed", "heka"}

// TestFramesAnySplit cuts streams of good frames into reads anywhere: always the same records.
func TestFramesAnySplit(t *testing.T) {
	for _, framing := range withLength {
		t.Run(framing, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				limit := rapid.SampledFrom([]int{200, 5000, 1 << 20}).Draw(rt, "limit")
				var stream strings.Builder
				var want []line
				for range rapid.IntRange(0, 12).Draw(rt, "records") {
					size := rapid.SampledFrom([]int{0, 1, 5, 99, 126, 128, 200, 201, 999, 4999, 5001, 70_000}).Draw(rt, "size")
					record := []byte(strings.Repeat("x", size))
					for range rapid.IntRange(0, min(3, size)).Draw(rt, "LFs") {
						record[rapid.IntRange(0, size-1).Draw(rt, "at")] = '\n'
					}
					stream.WriteString(frame(framing, string(record)))
					kept := string(record)
					if framing == "octet-counted" {
						kept = strings.TrimSuffix(kept, "\n")
					}
					if framing == "heka" { // its max_record counts the whole message, and what is behind the payload goes first
						before := strings.Index(message(kept+"."), kept+".")
						whole := len(message(kept))
						if whole > limit {
							kept = kept[:min(len(kept), limit-before)]
						}
						want = append(want, line{kept, whole > limit})
						continue
					}
					want = append(want, line{kept[:min(len(kept), limit)], len(kept) > limit})
				}
				text := stream.String()
				ends := rapid.SliceOfN(rapid.IntRange(0, len(text)), 0, 20).Draw(rt, "ends")
				slices.Sort(ends)
				p := playFrames(t, framing, &script{reads: pieces(text, ends...)}, limit)
				if p.err != nil {
					rt.Fatal(p.err)
				}
				if n := p.env.Counters.BadFrames.Load() + p.env.Counters.Unfinished.Load(); n != 0 {
					rt.Fatalf("%d bad or unfinished frames in a good stream", n)
				}
				compare(t, p.lines, want)
			})
		})
	}
}

// TestFramesOneByOne compares what comes of any bytes read at once with what comes of them byte by byte.
func TestFramesOneByOne(t *testing.T) {
	alphabets := map[string][]string{
		"octet-counted":   {"0", "1", "3", "12", " ", "<", "\n", "ab", "3 abc", "4 a\nb\n", "99999999 "},
		"length-prefixed": {"\x00", "\x00\x00\x00\x02ab", "\x00\x00\x00\x00", "\x01", "a\n", "\xff"},
		"heka":            {"\x1e", "\x1e\x02", "\x08", "\x1f", "\x00", "\x02", "ab", frame("heka", "a"), frame("heka", "b\n")},
	}
	for _, framing := range withLength {
		t.Run(framing, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(alphabets[framing]), 0, 20).Draw(rt, "text"), "")
				limit := rapid.SampledFrom([]int{2, 50, 1000}).Draw(rt, "limit")
				var ends []int
				for i := range len(text) {
					ends = append(ends, i)
				}
				once, many := playFrames(t, framing, &script{reads: pieces(text)}, limit), playFrames(t, framing, &script{reads: pieces(text, ends...)}, limit)
				compare(t, many.lines, once.lines)
				if a, b := once.env.Counters.BadFrames.Load(), many.env.Counters.BadFrames.Load(); a != b {
					rt.Fatalf("%d bad frames at once, %d byte by byte", a, b)
				}
				if (once.err == nil) != (many.err == nil) {
					rt.Fatalf("error %v at once, %v byte by byte", once.err, many.err)
				}
			})
		})
	}
}

func TestOctets(t *testing.T) {
	long := strings.Repeat("x", 500)
	for name, c := range map[string]struct {
		stream string
		want   []line
		bad    uint64
	}{
		"two":                           {"5 hello5 world", plain("hello", "world"), 0},
		"an LF at the end":              {"6 hello\n7 world\n\n", plain("hello", "world\n"), 0},
		"an LF between":                 {"5 hello\n5 world\n", plain("hello", "world"), 0},
		"an LF inside":                  {"3 a\nb1 c", plain("a\nb", "c"), 0},
		"CR stays":                      {"3 a\r\n", plain("a\r"), 0},
		"an LF alone":                   {"1 \n", plain(""), 0},
		"empty":                         {"0 1 a", plain("", "a"), 0},
		"as long as it may be":          {"100 " + long[:100] + "101 " + long[:100] + "\n1 a", plain(long[:100], long[:100], "a"), 0},
		"longer":                        {"101 " + long[:101] + "1 a", []line{{long[:100], true}, {"a", false}}, 0},
		"much longer":                   {"500 " + long + "1 a", []line{{long[:100], true}, {"a", false}}, 0},
		"longer, an LF in its head":     {"500 \n" + long[1:] + "1 a", []line{{"\n" + long[:99], true}, {"a", false}}, 0},
		"garbage line":                  {"1 agarbage\n1 b", plain("a", "b"), 1},
		"garbage lines":                 {"1 agarbage\nmore of it\n1 b", plain("a", "b"), 1},
		"garbage up to a syslog record": {"1 agarbage 12 5 <1> b5 <2> c", plain("a", "<1> b", "<2> c"), 1},
		"wrong count":                   {"4 <1> abc6 <2> de1 f", plain("<1> ", "<2> de", "f"), 1},
		"leading zero":                  {"01 a\n1 b", plain("b"), 1},
		"too many digits":               {"123456789 a\n1 b", plain("b"), 1},
		"length over the limit":         {"67108865 a\n1 b", plain("b"), 1},
		"no space":                      {"5hello\n1 b", plain("b"), 1},
		"two stretches":                 {"x\n1 ay\n1 b", plain("a", "b"), 2},
		"lines":                         {"one\ntwo\n", nil, 1},
		"end within a record":           {"1 a5 hel", []line{{"a", false}, {"hel", true}}, 0},
		"end within a long record":      {"1 a500 " + long[:50], []line{{"a", false}, {long[:50], true}}, 0},
		"end within a length":           {"1 a5", plain("a"), 1},
		"end behind a cut record":       {"500 " + long[:200], []line{{long[:100], true}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := playFrames(t, "octet-counted", &script{reads: pieces(c.stream)}, 100)
			if p.err != nil {
				t.Fatal(p.err)
			}
			compare(t, p.lines, c.want)
			if n := p.env.Counters.BadFrames.Load(); n != c.bad {
				t.Errorf("%d bad frames counted, want %d", n, c.bad)
			}
			cut := uint64(0)
			for _, l := range c.want {
				if l.truncated {
					cut++
				}
			}
			if n := p.env.Counters.Truncated.Load(); n != cut {
				t.Errorf("%d cut records counted, want %d", n, cut)
			}
		})
	}
}

func TestPrefixed(t *testing.T) {
	p := playFrames(t, "length-prefixed", &script{reads: []any{"\x00\x00\x00\x02a\n\x00\x00\x00\x00\x00\x00\x00\x01bGET / HTTP/1.1\r\n"}}, 100)
	if !errors.Is(p.err, errFrame) || p.env.Counters.BadFrames.Load() != 1 {
		t.Errorf("error %v, %d bad frames", p.err, p.env.Counters.BadFrames.Load())
	}
	compare(t, p.lines, plain("a\n", "", "b"))
}

// TestFramesOnePack looks at what a read becomes.
func TestFramesOnePack(t *testing.T) {
	stream := strings.Repeat("5 hello", 500)
	p := playFrames(t, "octet-counted", &script{reads: []any{stream}}, 100)
	if n := len(p.packs); n != 1 || p.packs[0].Form != pack.Lines || p.packs[0].Count != 500 || p.packs[0].Shared.Logger != "peer" {
		t.Errorf("%d packs, the first %+v", n, p.packs[0])
	}
	stream = strings.Repeat("5 hello", 100) + strings.Repeat("5 a\nbcd", 20) + strings.Repeat("5 hello", 100)
	p = playFrames(t, "octet-counted", &script{reads: []any{stream}}, 100)
	if n := len(p.packs); n > 3 || p.packs[0].Form != pack.Lines || p.packs[0].Count != 100 || p.packs[1].Form != pack.Records {
		t.Errorf("%d packs, the first %+v", n, p.packs[0])
	}
	for _, r := range p.all {
		if r.Type != "test" || r.Logger != "peer" || r.Hostname != "mule" || r.Severity != 7 || r.Timestamp == 0 || len(r.Fields) != 0 {
			t.Fatalf("record %+v", r)
		}
	}
}

// TestFramesTight sends records with an LF that take more room in a pack than they took in the stream.
func TestFramesTight(t *testing.T) {
	for _, size := range []int{1, 2, 9, 126, 200, 999, 17_000} {
		for _, framing := range withLength {
			var stream strings.Builder
			var want []line
			for i := range min(1000, 200_000/size) {
				record := "\n" + strings.Repeat(string(rune('a'+i%26)), size)
				stream.WriteString(frame(framing, record))
				want = append(want, line{text: record})
			}
			p := playFrames(t, framing, &script{reads: []any{stream.String()}}, 1<<20)
			if p.err != nil {
				t.Fatal(p.err)
			}
			compare(t, p.lines, want)
		}
	}
}

// TestFramesStall lets the peer fall silent in the middle of a record.
func TestFramesStall(t *testing.T) {
	long := strings.Repeat("z", 3*smallBlock)
	for _, framing := range withLength {
		t.Run(framing, func(t *testing.T) {
			whole := frame(framing, long)
			head, rest := whole[:2*smallBlock], whole[2*smallBlock:]
			p := playFrames(t, framing, &script{reads: []any{frame(framing, "a"), head, os.ErrDeadlineExceeded, rest[:10], os.ErrDeadlineExceeded, rest[10:] + frame(framing, "b"),
				frame(framing, "short")[:5], os.ErrDeadlineExceeded, frame(framing, "short")[5:]}}, 1<<20)
			if p.err != nil {
				t.Fatal(p.err)
			}
			kept := len(head) - strings.Index(whole, "zz")
			compare(t, p.lines, []line{{"a", false}, {long[:kept], true}, {"b", false}, {"short", false}})
		})
	}
}

// TestFramesBroken ends the stream with an error: what is not whole is left behind.
func TestFramesBroken(t *testing.T) {
	fault := errors.New("planted")
	for _, framing := range withLength {
		p := playFrames(t, framing, &script{reads: []any{frame(framing, "a") + frame(framing, "unfinished")[:6]}, last: fault}, 100)
		if !errors.Is(p.err, fault) || p.env.Counters.Unfinished.Load() != 1 {
			t.Errorf("%s: error %v, %d unfinished", framing, p.err, p.env.Counters.Unfinished.Load())
		}
		compare(t, p.lines, plain("a"))
	}
}

func TestFramesAllocateNothing(t *testing.T) {
	for _, framing := range withLength[:2] {
		env := testEnv(1 << 20)
		text := []byte(strings.Repeat(frame(framing, strings.Repeat("k", 96)), largeBlock/100+1))
		r := newFrames(&env, &around{text: text}, discard, 1<<20, new(sparing), new(sparing), "peer", newFraming(framing))
		ctx := t.Context()
		for range 10 {
			if err := r.step(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(1000, func() {
			if err := r.step(ctx); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations per read", framing, n)
		}
		r.loan.end()
	}
}

// around is an endless byteStream that repeats a text.
type around struct {
	text []byte
	at   int
	endless
}

func (a *around) Read(b []byte) (int, error) {
	n := copy(b, a.text[a.at:])
	a.at = (a.at + n) % len(a.text)
	return n, nil
}

func BenchmarkFrames(b *testing.B) {
	for _, framing := range withLength {
		b.Run(framing, func(b *testing.B) {
			env := testEnv(1 << 20)
			text := []byte(strings.Repeat(frame(framing, strings.Repeat("k", 96)), largeBlock/100+1))
			r := newFrames(&env, &around{text: text}, discard, 1<<20, new(sparing), new(sparing), "peer", newFraming(framing))
			defer r.close()
			b.SetBytes(largeBlock)
			b.ReportAllocs()
			for b.Loop() {
				if err := r.step(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzFrames: no bytes make a panic, records of their own, or memory that they do not justify.
func FuzzFrames(f *testing.F) {
	for i, framing := range withLength {
		f.Add(uint8(i), []byte(frame(framing, "one")+frame(framing, "t\nwo")+"garbage\n"+frame(framing, "three")), uint16(3), uint16(100))
	}
	f.Fuzz(func(t *testing.T, which uint8, stream []byte, at, limit uint16) {
		framing := withLength[int(which)%len(withLength)]
		p := playFrames(t, framing, &script{reads: pieces(string(stream), min(int(at), len(stream)))}, 1+int(limit))
		if p.err != nil && !errors.Is(p.err, errFrame) {
			t.Fatal(p.err)
		}
		for _, r := range p.all {
			if len(r.Payload) > 1+int(limit) || !bytes.Contains(stream, r.Payload) {
				t.Fatalf("record %q of %q", r.Payload, stream)
			}
		}
	})
}
