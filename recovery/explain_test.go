package recovery

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// storied is a directory of two segments that were killed before their seal, so that no parity heals them, with records of web-3
// and app: 1-20 web-3, 21-40 app, 41-60 web-3 and 61-80 web-3, 81-100 app. hq has done those before 51, the archive all.
func storied(t testing.TB) *builder {
	b := newBuilder(t)
	b.codec = segment.None
	for _, keys := range [][]string{{"in/web-3", "in/app", "in/web-3"}, {"in/web-3", "in/app"}} {
		b.open()
		b.full(b.at("hq", min(b.next, 51)), b.at("archive", b.next))
		for _, key := range keys {
			b.sourced(20, key, "at "+fmt.Sprint(b.next))
			b.sync()
		}
		b.delta(b.at("hq", 51), b.at("archive", b.next))
		b.marker()
		b.sync()
		b.close()
	}
	return b
}

// bodyAt is the offset of the last byte but some of the frame with a sequence.
func bodyAt(b *builder, sequence uint64) int64 { f := b.of(sequence); return f.offset + f.size - 16 }

func TestExplain(t *testing.T) {
	tests := []struct {
		name string
		hurt func(b *builder)
		want []string
	}{
		{"a body", func(b *builder) { b.flip(0, bodyAt(b, 30)) },
			[]string{"20 records of input app, 2023-11-14 22:13:20Z; every output had delivered them before"}},
		{"two bodies in a row", func(b *builder) { b.flip(0, bodyAt(b, 30)); b.flip(0, bodyAt(b, 50)) },
			[]string{"40 records of inputs app and web-3, 2023-11-14 22:13:20Z; archive had delivered all of them; hq had delivered 30, 10 were still to come"}},
		{"bodies apart", func(b *builder) { b.flip(0, bodyAt(b, 10)); b.flip(0, bodyAt(b, 50)) },
			[]string{"20 records of input web-3, 2023-11-14 22:13:20Z; every output had delivered them before",
				"20 records of input web-3, 2023-11-14 22:13:20Z; archive had delivered all of them; hq had delivered 10, 10 were still to come"}},
		{"a header", func(b *builder) { b.flip(0, b.of(30).offset+9) },
			[]string{"20 records, probably of input web-3 like those around them, of about 2023-11-14 22:13:20Z; every output had delivered them before"}},
		{"a key", func(b *builder) {
			edit(t, b.fs, b.path(0), func(data []byte) []byte {
				at := b.of(30).offset
				i := strings.Index(string(data[at:]), "in/app")
				data[at+int64(i)+3] = 'b'
				return data
			})
		}, []string{"20 records, probably of input bpp, 2023-11-14 22:13:20Z; every output had delivered them before"}},
		{"a table that cannot be read", func(b *builder) { b.flip(0, b.of(30).offset+segment.FrameHeaderSize) },
			[]string{"20 records, probably of input web-3 like those around them, 2023-11-14 22:13:20Z; every output had delivered them before"}},
		{"the last frame of a segment", func(b *builder) { b.zero(0, b.of(60).offset, b.of(60).size) },
			[]string{"20 records, probably of inputs app and web-3 like those around them, of about 2023-11-14 22:13:20Z; archive had delivered all of them; hq had delivered 10, 10 were still to come"}},
		{"a segment", func(b *builder) { b.truncate(0, 100) },
			[]string{"60 records, probably of input web-3 like those around them, of about 2023-11-14 22:13:20Z; archive had delivered all of them; hq had delivered 50, 10 were still to come"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := storied(t)
			test.hurt(b)
			var said []string
			var missing uint64
			r, err := Check(context.Background(), b.fs, testDir, CheckOptions{Workers: 1, Source: func(key string) string { return "input " + strings.TrimPrefix(key, "in/") }})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range r.Damage {
				if d.Lost == nil {
					continue
				}
				said = append(said, d.Lost.String()+"; "+d.Lost.Delivered())
				missing += d.Lost.Outputs[1].Missing
				if d.Lost.Records != d.LastLost-d.FirstLost+1 {
					t.Errorf("%d records, %d to %d", d.Lost.Records, d.FirstLost, d.LastLost)
				}
			}
			if strings.Join(said, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(test.want, "\n"))
			}
			if r.Outputs[1].Missing != missing || r.Outputs[0].Missing != 0 {
				t.Errorf("outputs %+v, the damage says that hq misses %d", r.Outputs, missing)
			}
		})
	}
}

// TestExplainMissing is a segment that is gone: the records around it are all that is known.
func TestExplainMissing(t *testing.T) {
	b := newBuilder(t)
	for _, key := range []string{"in/a", "in/b", "in/c"} {
		b.open()
		b.full(b.at("hq", 5))
		b.sourced(10, key, "x")
		b.seal()
	}
	b.remove(b.path(1))
	r := check(t, b.fs)
	if len(r.Damage) != 1 || r.Damage[0].Lost.String() != "10 records, probably of in/a and in/c like those around them, of about 2023-11-14 22:13:20Z" || r.Damage[0].Lost.Delivered() != "none of them delivered yet" {
		t.Errorf("%+v", r.Damage)
	}
}

// TestSourcesOf is what a reader asks when it comes upon bad bytes.
func TestSourcesOf(t *testing.T) {
	for _, test := range []struct {
		hit  func(f placed) int64
		want string
	}{
		{func(f placed) int64 { return f.offset + f.size - 16 }, "[in/web-3]"},
		{func(f placed) int64 { return f.offset + 9 }, "[]"},
	} {
		b := storied(t)
		frame := b.of(50)
		b.flip(0, test.hit(frame))
		f, err := b.fs.Open(b.path(0))
		b.must(err)
		got := SourcesOf(f, b.made[0], segment.Span{Offset: frame.offset, Size: frame.size}, checkpoint.Range{First: 41, Last: 60}, nil)
		if fmt.Sprint(got) != test.want {
			t.Errorf("got %v, want %v", got, test.want)
		}
		b.must(f.Close())
	}
}

// TestStartNamesSources: the ledger of a start names the sources of which it is certain.
func TestStartNamesSources(t *testing.T) {
	b := storied(t)
	b.flip(0, bodyAt(b, 30))
	b.flip(1, b.of(70).offset+9)
	state := mustStart(t, b.fs, nil)
	losses, err := ReadLedger(b.fs, testDir)
	b.must(err)
	var told []string
	for _, l := range losses {
		told = append(told, fmt.Sprintf("%d-%d %v", l.First, l.Last, l.Sources))
	}
	if got := strings.Join(told, ", "); got != "21-40 [in/app], 61-80 []" {
		t.Errorf("the ledger tells of %s", got)
	}
	if d := state.Report.Damage; len(d) != 2 || d[0].Lost.String() != "20 records of in/app, 2023-11-14 22:13:20Z" {
		t.Errorf("the start reports %+v", d)
	}
}

func TestCauses(t *testing.T) {
	b := newBuilder(t)
	l, err := OpenLedger(b.fs, testDir)
	b.must(err)
	b.must(l.Add(
		Loss{First: 5, Last: 10, Count: 6, Cause: causeChecksum, Acknowledged: Acknowledged, Quarantine: "quarantine/x", Sources: []string{"in/a"}},
		Loss{First: 8, Last: 12, Count: 5, Cause: causeChecksum, Acknowledged: Acknowledged, Outputs: []string{"hq"}},
		Loss{First: 20, Last: 20, Count: 1, Cause: causeChecksum, Acknowledged: NotAcknowledged},
		Loss{Count: 7, Cause: CauseDropNewest, Acknowledged: NotAcknowledged},
		Loss{Count: 3, Cause: CauseDropNewest, Acknowledged: NotAcknowledged},
		Loss{Cause: causeIndex, Acknowledged: AcknowledgedUnknown, Segment: "s", Offset: 1, Length: 2},
	))
	var got []string
	for _, c := range l.Causes() {
		got = append(got, fmt.Sprintf("%s %s %d: %s", c.Cause, c.Acknowledged, c.Lines, c))
	}
	want := []string{
		"checksum no 1: 1 record, sequence 20", "checksum yes 2: 8 records, sequences 5 to 12, some of in/a, missed by hq",
		"drop_newest no 2: 10 records", "index unknown 1: 1 place without records",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	b.must(l.Close())
	if r := check(t, b.fs); len(r.Ledger) != 4 || !r.Clean {
		t.Errorf("fsck: %+v", r.Ledger)
	}
}

func TestWords(t *testing.T) {
	for want, names := range map[string][]string{
		"":                               nil,
		"input a":                        {"input a"},
		"inputs a and b":                 {"input a", "input b"},
		"inputs a, b and Heka queue x":   {"Heka queue x", "input a", "input b"},
		"inputs a, b, c and 3 more":      {"input a", "input b", "input c", "input d", "input e", "input f"},
		"input a and replay to output b": {"replay to output b", "input a"},
	} {
		if got := Sources(names); got != want {
			t.Errorf("%q: got %q, want %q", names, got, want)
		}
	}
	for _, c := range []string{
		causeChecksum, causeZeroed, causeTruncated, causeMissing, causeJump, causeTrailer, causeIndex, causeHeader, causeUnreadable, causeForeign,
		CauseDropOldest, CauseDropNewest, CauseBacklog, CauseForgotten, CauseRewind, CauseNotStored,
	} {
		if Meaning(c) == c {
			t.Errorf("nothing explains %q", c)
		}
	}
}
