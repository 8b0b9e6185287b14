package hekaqueue

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"logmule/queue/vfs"
)

// hurt damages content as disks and crashes do, and marks which bytes are not what they were.
func hurt(rng *rand.Rand, content []byte) (now []byte, touched []bool) {
	now, touched = slices.Clone(content), make([]bool, len(content)+1)
	mark := func(from, to int) {
		for i := from; i < to; i++ {
			touched[i] = touched[i] || now[i] != content[i]
		}
	}
	for range 1 + rng.IntN(4) {
		at := rng.IntN(len(now))
		end := min(len(now), at+1+rng.IntN(1<<rng.IntN(12)))
		switch rng.IntN(4) {
		case 0:
			now[at] ^= 1 << rng.IntN(8)
			mark(at, at+1)
		case 1:
			clear(now[at:end])
			mark(at, end)
		case 2:
			for i := at; i < end; i++ {
				now[i] = byte(rng.Uint32())
			}
			mark(at, end)
		default:
			copy(now[at:end], content[rng.IntN(len(content)):])
			mark(at, end)
		}
	}
	if rng.IntN(3) == 0 {
		cut := rng.IntN(len(now))
		now = now[:cut]
		for i := cut; i < len(touched); i++ {
			touched[i] = true
		}
	}
	return now, touched
}

// TestUntouchedRecordsAreFound damages files in a thousand ways: every record of which no byte has changed is found.
func TestUntouchedRecordsAreFound(t *testing.T) {
	const trials = 1500
	var untouched, altered int
	for seed := range trials {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		var content []byte
		var ends []int
		for n := range 1 + rng.IntN(60) {
			m := messageOf(rng, n)
			if rng.IntN(8) == 0 {
				content = append(content, signed(m)...)
			} else {
				content = append(content, frame(m)...)
			}
			ends = append(ends, len(content))
		}
		now, touched := hurt(rng, content)
		s := scanBytes(t, now)
		found := map[int64]*Record{}
		for i := range s.records {
			found[s.records[i].Offset] = &s.records[i]
		}
		begin := 0
		for _, end := range ends {
			if !slices.Contains(touched[begin:end], true) {
				untouched++
				if r := found[int64(begin)]; r == nil || !bytes.Equal(r.Frame, content[begin:end]) {
					t.Errorf("seed %d: the record at %d is not found", seed, begin)
				}
				delete(found, int64(begin))
			}
			begin = end
		}
		for at, r := range found {
			altered++
			if r.Plain || !slices.Contains(touched[at:r.End], true) && r.Class == Intact {
				t.Errorf("seed %d: a record at %d that nobody wrote", seed, at)
			}
		}
		tiles(t, now, &s)
	}
	t.Logf("%d of %d untouched records found; %d others read like records, which nobody can tell", untouched, untouched, altered)
}

// tiles makes sure that every byte of a file is in one record or in one range that is skipped.
func tiles(t testing.TB, content []byte, s *seen) {
	t.Helper()
	skips := slices.Clone(s.skips)
	at := int64(0)
	var skipped, zeros int64
	for i := 0; i <= len(s.records); i++ {
		next := int64(len(content))
		if i < len(s.records) {
			next = s.records[i].Offset
		}
		if next > at {
			if len(skips) == 0 || skips[0].From != at || skips[0].To != next || skips[0].Why == "" {
				t.Fatalf("[%d,%d) is neither a record nor skipped: %+v", at, next, skips)
			}
			skipped += next - at
			zeros += skips[0].Zeros
			if got := int64(bytes.Count(content[at:next], []byte{0})); got != skips[0].Zeros {
				t.Errorf("[%d,%d) has %d NUL bytes, not %d", at, next, got, skips[0].Zeros)
			}
			skips = skips[1:]
		}
		if i < len(s.records) {
			r := &s.records[i]
			if at = max(at, r.End); !bytes.HasSuffix(r.Frame, r.Message) || !bytes.HasSuffix(content[r.Offset:r.End], r.Frame) {
				t.Fatalf("the record at %d is not what stands there", r.Offset)
			}
		}
	}
	f := s.report.FileReport
	if len(skips) > 0 || f.SkippedBytes != skipped || f.ZeroBytes != zeros || f.Skips != len(s.skips) || int(f.All().Records) != len(s.records) {
		t.Errorf("%+v for %d bytes, %d NUL, %+v left", f, skipped, zeros, skips)
	}
}

func FuzzScan(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	f.Add(join(frame(messageOf(rng, 0)), signed(messageOf(rng, 1)), []byte{frameStart, 2}))
	f.Add(join(frame([]byte("{}\n")), frame(frame(messageOf(rng, 2)))))
	f.Add(frame(attribute(message(0, "x"), 10, string(fieldOf(2, "f")))))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := scanBytes(t, content)
		tiles(t, content, &s)
		// What is taken out is a clean stream: it is read again as it is.
		var clean []byte
		messages := 0
		for _, r := range s.records {
			clean = append(clean, r.Frame...)
			if !r.Plain {
				messages++
			}
		}
		again := scanBytes(t, clean)
		if messages == len(s.records) && (len(again.records) != len(s.records) || len(again.skips) > 0) {
			t.Errorf("%d records, and %d when they are read again, %+v", len(s.records), len(again.records), again.skips)
		}
	})
}

// Version 0.9 stored what the output's encoder had made, or frames in frames.
func TestPlain(t *testing.T) {
	bulk := func(s string) []byte { return frame([]byte(`{"index":{}}` + "\n" + s + "\n")) }
	damaged := message(4, "damaged")
	damaged[28] ^= 4
	for name, c := range map[string]struct {
		content []byte
		want    []string
		plain   uint64
	}{
		"encoded":               {join(bulk("a"), bulk("b")), []string{"intact {\"index\":{}}\na\n", "intact {\"index\":{}}\nb\n"}, 2},
		"torn":                  {join(bulk("a"), bulk("b"))[:25], []string{"intact {\"index\":{}}\na\n"}, 1},
		"not UTF-8":             {join(frame([]byte("\xff")), bulk("b")), []string{"suspect \xff", "intact {\"index\":{}}\nb\n"}, 2},
		"framed twice":          {join(frame(frame(message(0, "a"))), frame(frame(message(1, "b")))), []string{"intact a", "intact b"}, 0},
		"framed twice, no heka": {join(frame(frame([]byte("a"))), frame([]byte("b"))), []string{"intact a", "intact b"}, 2},
		"noise between":         {join(bulk("a"), []byte("noise"), bulk("b")), []string{"probable {\"index\":{}}\na\n", "intact {\"index\":{}}\nb\n"}, 2},
		"a damaged message":     {join(frame(damaged), bulk("a"), bulk("a"), bulk("a")), slices.Repeat([]string{"intact {\"index\":{}}\na\n"}, 3), 3},
		"messages":              {join(bulk("no"), three(0)), []string{"intact a", "intact b", "intact c"}, 0},
		"only damaged":          {frame(damaged), nil, 0},
	} {
		s := scan(t, vfs.OS(), build(t, map[string][]byte{"0.log": c.content, "1.log": three(5)}))
		got := s.payloads()
		if want := append(slices.Clone(c.want), "intact a", "intact b", "intact c"); !slices.Equal(got, want) || s.report.Waiting.Plain != c.plain {
			t.Errorf("%s: %q, %d of 0.9, want %q, %d", name, got, s.report.Waiting.Plain, want, c.plain)
		}
	}
}

// Frames larger than what is read at once, and lengths that claim to be.
func TestLarge(t *testing.T) {
	large := frame(message(0, strings.Repeat("z", 3*readStep)))
	claims := slices.Clone(frame(message(1, strings.Repeat("z", 300))))
	claims[4] ^= 0x40 // more than follows
	s := scan(t, vfs.OS(), build(t, map[string][]byte{"0.log": join(three(10), large, claims, three(20), make([]byte, 2*readStep), large, three(30))}))
	if len(s.records) != 11 || !bytes.Equal(s.records[3].Frame, large) || s.records[10].Class != Intact || s.records[7].Doubts != Repeated && s.records[7].Class != Intact {
		t.Errorf("%d records: %+v", len(s.records), s.skips)
	}
	huge := number(nil, 1, maxFrame+1)
	content := join([]byte{frameStart, byte(len(huge))}, huge, []byte{headerEnd}, three(0), make([]byte, maxFrame))
	s = scanBytes(t, content)
	if len(s.records) != 3 || len(s.skips) != 2 || !strings.Contains(s.skips[0].Why, "at most") || s.skips[1].Why != "nothing but NUL bytes" {
		t.Errorf("%d records: %+v", len(s.records), s.skips)
	}
}

// worn is a file system whose files have a part that cannot be read, or end earlier than they say.
type worn struct {
	vfs.FS
	from, to int64
	end      int64 // 0: they do not
}

type wornFile struct {
	vfs.File
	fs *worn
}

func (w *worn) Open(name string) (vfs.File, error) {
	f, err := w.FS.Open(name)
	return &wornFile{f, w}, err
}

var errWorn = errors.New("input/output error")

func (f *wornFile) ReadAt(b []byte, offset int64) (int, error) {
	want := b
	if end := f.fs.end; end > 0 && offset+int64(len(b)) > end {
		want = b[:max(0, end-offset)]
	}
	if offset < f.fs.to && offset+int64(len(want)) > f.fs.from {
		n, _ := f.File.ReadAt(want[:max(0, f.fs.from-offset)], offset)
		return n, errWorn
	}
	n, err := f.File.ReadAt(want, offset)
	if err == nil && len(want) < len(b) {
		err = io.EOF
	}
	return n, err
}

func TestBadSectors(t *testing.T) {
	var content []byte
	var starts []int64
	for n := range 600 {
		starts = append(starts, int64(len(content)))
		content = append(content, frame(message(n, strings.Repeat("p", n%150)))...)
	}
	dir := build(t, map[string][]byte{"0.log": content})
	for _, bad := range [][2]int64{{0, 10}, {4096, 8192}, {8192 + 100, 8192 + 300}, {20000, 30000}, {int64(len(content)) - 5, int64(len(content))}} {
		fsys := &worn{FS: vfs.OS(), from: bad[0], to: bad[1]}
		s := scan(t, fsys, dir)
		found := map[int64]bool{}
		for _, r := range s.records {
			found[r.Offset] = true
		}
		// A disk gives back blocks or nothing: what shares one with the bad bytes behind them may be lost.
		blocks := (bad[1] + badBlock - 1) / badBlock * badBlock
		for i, at := range starts {
			end := int64(len(content))
			if i+1 < len(starts) {
				end = starts[i+1]
			}
			if away := end <= bad[0] || at >= blocks; away && !found[at] {
				t.Errorf("bad %v: the record at %d is not found", bad, at)
			} else if end > bad[0] && at < bad[1] && found[at] {
				t.Errorf("bad %v: the record at %d is found", bad, at)
			}
		}
		if !slices.ContainsFunc(s.skips, func(k Skip) bool {
			return k.Why == "cannot be read: input/output error" && k.From <= bad[0] && k.To > bad[0]
		}) {
			t.Errorf("bad %v: %+v", bad, s.skips)
		}
	}
}

func TestFileShrinks(t *testing.T) {
	dir := build(t, map[string][]byte{"0.log": three(0)})
	s := scan(t, &worn{FS: vfs.OS(), end: 40}, dir)
	if last := s.skips[len(s.skips)-1]; len(s.records) != 1 || last.To != int64(len(three(0))) || !strings.Contains(last.Why, "shorter") {
		t.Errorf("%+v, %+v", s.records, s.skips)
	}
}

func TestNoAllocations(t *testing.T) {
	var content []byte
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range 20000 {
		content = append(content, frame(messageOf(rng, n))...)
	}
	q, err := Open(t.Context(), vfs.OS(), build(t, map[string][]byte{"0.log": content}))
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	each := testing.AllocsPerRun(2, func() {
		if _, err := q.Scan(t.Context(), Visitor{Record: func(*Record) error { records++; return nil }}); err != nil {
			t.Fatal(err)
		}
	})
	if each > 100 || records != 3*20000 {
		t.Errorf("%.0f allocations for %d records", each, records/3)
	}
}

func BenchmarkScan(b *testing.B) {
	var content []byte
	rng := rand.New(rand.NewPCG(1, 1))
	for n := 0; len(content) < 64<<20; n++ {
		content = append(content, frame(messageOf(rng, n))...)
	}
	q, err := Open(b.Context(), vfs.OS(), build(b, map[string][]byte{"0.log": content}))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if report, err := q.Scan(b.Context(), Visitor{}); err != nil || report.Skips > 0 {
			b.Fatal(err, report)
		}
	}
}
