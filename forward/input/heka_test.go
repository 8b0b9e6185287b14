package input

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logmule/forward/pack"
)

// TestHekaRecord looks at what becomes of a message: itself, and nothing that it does not say.
func TestHekaRecord(t *testing.T) {
	r := pack.Record{Attributes: pack.Attributes{UUID: []byte("0123456789abcdef"), Timestamp: 99, Severity: 2, Pid: 7, Fields: []pack.Field{{Name: "f", Value: "v"}}},
		Payload: []byte("two\nlines\n")}
	own := string(r.Append(nil))
	p := playFrames(t, "heka", &script{reads: []any{"\x1e\x02\x08" + string(rune(len(own))) + "\x1f" + own}}, 1000)
	if p.err != nil || len(p.all) != 1 {
		t.Fatalf("%d records, error %v", len(p.all), p.err)
	}
	if got := string(p.all[0].Append(nil)); got != own {
		t.Errorf("got %q, want %q", got, own)
	}
}

func TestHekaGarbage(t *testing.T) {
	good := frame("heka", "good")
	signed := "\x1e\x0e\x08" + good[3:4] + "\x18\x01\x22\x01s\x28\x01\x32\x02ab\x1f" + good[5:]
	for name, c := range map[string]struct {
		stream string
		want   []line
		bad    uint64
	}{
		"in front":                      {"garbage\n" + good, plain("good"), 1},
		"between":                       {good + "\x1e\x1e\x02\x08\x1f" + good, plain("good", "good"), 1},
		"a wrong length hides others":   {good[:3] + "\x7f" + good[4:] + strings.Repeat(good, 5), plain("good", "good", "good", "good", "good"), 1},
		"a header that is none":         {"\x1e\x04\x08\x02\x38\x01\x1f" + good, plain("good"), 1},
		"a length beyond all":           {"\x1e\x06\x08\xff\xff\xff\xff\x0f\x1f" + good, plain("good"), 1},
		"signed":                        {signed[:1] + "\x0d" + signed[2:], plain("good"), 0},
		"signed, another field":         {"\x1e\x04\x08" + good[3:4] + "\x10\x01\x1f" + good[5:], nil, 1},
		"not a message":                 {"\x1e\x02\x08\x02\x1f\x34\x01" + good, plain("good"), 1},
		"two stretches":                 {"x" + good + "y" + good, plain("good", "good"), 2},
		"end within the header":         {good + "\x1e\x02", plain("good"), 1},
		"end within a message":          {good + good[:len(good)-9], []line{{"good", false}, {"go", true}}, 0},
		"end behind the payload":        {good + good[:len(good)-3], []line{{"good", false}, {"good", true}}, 0},
		"end within what hides another": {good[:3] + "\x7f" + good[4:] + good, plain("good"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := playFrames(t, "heka", &script{reads: pieces(c.stream)}, 1000)
			if p.err != nil {
				t.Fatal(p.err)
			}
			compare(t, p.lines, c.want)
			if n := p.env.Counters.BadFrames.Load(); n != c.bad {
				t.Errorf("%d bad frames counted, want %d", n, c.bad)
			}
		})
	}
}

// TestHekaHostile sends frames within frames, none of which is one, and looks at how many bytes are decoded in vain.
func TestHekaHostile(t *testing.T) {
	var text strings.Builder
	for text.Len() < 1<<20 {
		text.WriteString("\x7a\x07\x1e\x04\x08\x80\x80\x20\x1f") // an unknown field that holds the beginning of a frame of 512 KiB
	}
	text.WriteString("\x34" + strings.Repeat("x", 600<<10))
	h, rest := new(heka), []byte(text.String())
	for len(rest) > 0 {
		f := h.next(rest)
		if f.what != bad || f.size < 1 {
			t.Fatalf("found %+v", f)
		}
		rest = rest[f.size:]
		if h.wasted > maxWasted+4<<20 {
			t.Fatal("the bytes are decoded again and again")
		}
	}
	if h.wasted < maxWasted {
		t.Errorf("only %d bytes decoded: this tests nothing", h.wasted)
	}
	if f := h.next([]byte(frame("heka", "good"))); f.what != found || h.wasted != 0 {
		t.Errorf("a good message gives %+v, %d bytes wasted", f, h.wasted)
	}
}

// TestHekaStream reads what Heka itself wrote: 24 messages of its TcpOutput and 6 signed ones of its client.
func TestHekaStream(t *testing.T) {
	stream, err := os.ReadFile(filepath.Join("testdata", "heka.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 100, len(stream)} {
		var reads []any
		for at := 0; at < len(stream); at += size {
			reads = append(reads, string(stream[at:min(len(stream), at+size)]))
		}
		env, rest := testEnv(1<<20), stream
		count := 0
		emit := func(_ context.Context, p *pack.Pack) (Receipt, error) {
			if p.Shared.Type != "" || p.Shared.Logger != "" || p.Shared.Hostname != "" || len(p.Shared.Fields) != 0 {
				t.Errorf("shared attributes %+v", p.Shared)
			}
			return Receipt{}, pack.Each(p.Form, p.Body, func(own []byte) error {
				count++
				at := bytes.Index(rest, own)
				if at < 5 || at > 60 {
					t.Fatalf("message %d is not the one that was sent", count)
				}
				rest = rest[at+len(own):]
				return nil
			})
		}
		r := newFrames(&env, &script{reads: reads}, emit, 1<<20, new(sparing), new(sparing), "peer", new(heka))
		if err := r.run(t.Context()); err != nil || count != 30 || len(rest) > 0 || env.Counters.BadFrames.Load() != 0 {
			t.Errorf("%d messages, %d bytes left, %d bad frames, error %v", count, len(rest), env.Counters.BadFrames.Load(), err)
		}
	}
}
