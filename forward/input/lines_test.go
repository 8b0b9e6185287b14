package input

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"logmule/forward/pack"
)

// script is a byteStream that plays reads: of each string as much as the reader has room for, then the next; in the end
// last, or with the last bytes if together is set.
type script struct {
	reads    []any // string, or error
	last     error // nil: io.EOF
	together bool
	deadline time.Time
}

func (s *script) SetReadDeadline(t time.Time) error {
	s.deadline = t
	return nil
}

func (s *script) Read(b []byte) (int, error) {
	last := s.last
	if last == nil {
		last = io.EOF
	}
	if len(s.reads) == 0 {
		return 0, last
	}
	if err, ok := s.reads[0].(error); ok {
		s.reads = s.reads[1:]
		return 0, err
	}
	text := s.reads[0].(string)
	n := copy(b, text)
	if s.reads[0] = text[n:]; n == len(text) {
		s.reads = s.reads[1:]
	}
	if len(s.reads) == 0 && s.together {
		return n, last
	}
	return n, nil
}

func testEnv(limit int64) Env {
	return Env{Name: "test", Hostname: "mule", Memory: NewBudget(limit)}.withDefaults()
}

// play reads a script to its end and returns the records.
func play(t testing.TB, s *script, limit int) ([]line, *Counters, error) {
	t.Helper()
	env := testEnv(64 << 20)
	st := newStore()
	err := newLines(&env, s, st.emit, limit, new(sparing), "peer").run(t.Context())
	if used := env.Memory.Used(); used != 0 {
		t.Errorf("%d bytes of the budget not given back", used)
	}
	return st.wait(t, 0), env.Counters, err
}

// model says what the records of a whole stream are, without any thought of reads.
func model(stream string, limit int) []line {
	var all []line
	for len(stream) > 0 {
		text, rest, _ := strings.Cut(stream, "\n")
		all = append(all, line{text[:min(len(text), limit)], len(text) > limit})
		stream = rest
	}
	return all
}

func pieces(stream string, ends ...int) []any {
	var all []any
	from := 0
	for _, end := range append(ends, len(stream)) {
		if end > from {
			all = append(all, stream[from:end])
			from = end
		}
	}
	return all
}

// TestLinesEverySplit tries every short stream, cut into reads in every way.
func TestLinesEverySplit(t *testing.T) {
	const length = 6
	letters := "a\n\r"
	for code := range 729 {
		var text []byte
		for c := code; len(text) < length; c /= 3 {
			text = append(text, letters[c%3])
		}
		for n := range length + 1 {
			if n < length && code%3 != 0 {
				continue // shorter ones come up often enough
			}
			stream := string(text[:n])
			for split := range 1 << max(n-1, 0) {
				var ends []int
				for i := 1; i < n; i++ {
					if split>>(i-1)&1 == 1 {
						ends = append(ends, i)
					}
				}
				for _, limit := range []int{1, 2, 100} {
					got, _, err := play(t, &script{reads: pieces(stream, ends...), together: split%2 == 0}, limit)
					if err != nil {
						t.Fatal(err)
					}
					compare(t, got, model(stream, limit))
				}
			}
		}
	}
}

// TestLinesAgainstModel tries long streams of every kind of line, cut at random.
func TestLinesAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.SampledFrom([]int{1, 7, 100, 5000, largeBlock - 2, largeBlock, 1 << 20}).Draw(rt, "limit")
		one := rapid.OneOf(
			rapid.Just(""), rapid.Just("\r"), rapid.Just("a\r\rb\r"), rapid.Just("\x00"), rapid.Just("\xff\xfe\x80"),
			rapid.Just(strings.Repeat("x", 100)),
			rapid.StringN(0, 20, 60).Filter(func(s string) bool { return !strings.Contains(s, "\n") }),
			rapid.Custom(func(rt *rapid.T) string {
				near := rapid.SampledFrom([]int{limit, smallBlock, largeBlock, 2 * largeBlock, 1 << 20}).Draw(rt, "near")
				return strings.Repeat("y", max(0, near+rapid.IntRange(-3, 3).Draw(rt, "by")))
			}),
		)
		stream := strings.Join(rapid.SliceOfN(one, 0, 30).Draw(rt, "lines"), "\n")
		if rapid.Bool().Draw(rt, "ends in LF") {
			stream += "\n"
		}
		size := rapid.SampledFrom([]int{1, 100, smallBlock - 1, smallBlock, 10000, largeBlock, 1 << 30}).Draw(rt, "size")
		if len(stream) > 200_000 {
			size = max(size, 100)
		}
		var ends []int
		for at := 0; at < len(stream); {
			at += rapid.IntRange(1, size).Draw(rt, "read")
			if len(ends) > 2000 {
				at += size
			}
			ends = append(ends, min(at, len(stream)))
		}
		got, counters, err := play(t, &script{reads: pieces(stream, ends...), together: rapid.Bool().Draw(rt, "together")}, limit)
		if err != nil {
			rt.Fatal(err)
		}
		want := model(stream, limit)
		compare(t, got, want)
		cut := uint64(0)
		for _, l := range want {
			if l.truncated {
				cut++
			}
		}
		if n := counters.Truncated.Load(); n != cut {
			rt.Fatalf("counted %d truncated records, want %d", n, cut)
		}
	})
}

// TestLinesAroundLimit puts records of every length around a limit around a block size first, in the middle and last.
func TestLinesAroundLimit(t *testing.T) {
	for around, by := range map[int]int{2: 1, smallBlock: 2, largeBlock: 1, 2 * largeBlock: 0, 1 << 20: 0} {
		for limit := around - by; limit <= around+by; limit++ {
			for size := limit - 1; size <= limit+2; size++ {
				long := strings.Repeat("z", size)
				for _, stream := range []string{long + "\n", long, "a\n" + long + "\n\nb\n", long + "\n" + long + "\n" + long} {
					for _, read := range []int{1 << 30, limit, limit + 1, limit + 2} {
						var ends []int
						for at := read; at < len(stream); at += read {
							ends = append(ends, at)
						}
						got, _, err := play(t, &script{reads: pieces(stream, ends...)}, limit)
						if err != nil {
							t.Fatal(err)
						}
						compare(t, got, model(stream, limit))
					}
				}
			}
		}
	}
}

func TestLinesBrokenStream(t *testing.T) {
	got, counters, err := play(t, &script{reads: []any{"one\ntw", "o\nthr"}, last: syscall.ECONNRESET}, 100)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error %v, want the connection's", err)
	}
	compare(t, got, plain("one", "two"))
	if n := counters.Unfinished.Load(); n != 1 {
		t.Errorf("%d unfinished records counted, want 1", n)
	}
}

func TestLinesRefused(t *testing.T) {
	fault := errors.New("disk on fire")
	for _, c := range []struct {
		err  error
		want []line
	}{{ErrDropped, plain("three")}, {fault, nil}} {
		env := testEnv(1 << 20)
		st := newStore()
		st.refuse = func(p *pack.Pack) error {
			if string(p.Body) == "one\ntwo\n" {
				return fmt.Errorf("append: %w", c.err)
			}
			return nil
		}
		err := newLines(&env, &script{reads: []any{"one\ntwo\n", "three\n"}}, st.emit, 100, new(sparing), "peer").run(t.Context())
		if c.err == fault && !errors.Is(err, fault) || c.err == ErrDropped && err != nil {
			t.Errorf("with %v: run returns %v", c.err, err)
		}
		compare(t, st.wait(t, 0), c.want)
	}
}

// TestLinesStall lets the peer fall silent in the middle of a record.
func TestLinesStall(t *testing.T) {
	long := strings.Repeat("z", 3*smallBlock)
	for name, c := range map[string]struct {
		reads []any
		want  []line
	}{
		"short partial record is kept": {
			[]any{long + "\nshort", os.ErrDeadlineExceeded, " end\n"}, plain(long, "short end")},
		"longest partial record that the small block takes": {
			[]any{long + "\n", long[:smallBlock-2], os.ErrDeadlineExceeded, "+\n"}, plain(long, long[:smallBlock-2]+"+")},
		"long partial record is cut": {
			[]any{"a\n" + long, os.ErrDeadlineExceeded, "rest", "rest", "\nb\n"}, []line{{"a", false}, {long, true}, {"b", false}}},
		"rest comes in one read with the next": {
			[]any{long, os.ErrDeadlineExceeded, "rest\nb"}, []line{{long, true}, {"b", false}}},
		"silent again while skipping": {
			[]any{long, os.ErrDeadlineExceeded, long, os.ErrDeadlineExceeded, long + "\nb\n"}, []line{{long, true}, {"b", false}}},
		"end while skipping": {
			[]any{long, os.ErrDeadlineExceeded, "rest"}, []line{{long, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := play(t, &script{reads: c.reads}, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, got, c.want)
		})
	}
}

func TestLinesSample(t *testing.T) {
	env, text := testEnv(1<<20), new(logText)
	env.Log = slog.New(slog.NewTextHandler(text, nil))
	long := "\x00\x1b[31m\xff" + strings.Repeat("q", 300)
	s := &script{reads: []any{strings.Repeat(long+"\n", 50)}}
	if err := newLines(&env, s, newStore().emit, 200, new(sparing), "peer").run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := text.String()
	if n := strings.Count(got, "record cut"); n < 1 || n > 3 {
		t.Errorf("%d samples logged, want about one a second:\n%s", n, got)
	}
	if !strings.Contains(got, `\\x00\\x1b[31m\\xff`+strings.Repeat("q", 93)) || strings.Contains(got, strings.Repeat("q", 94)) {
		t.Errorf("sample is not the first 100 bytes, escaped:\n%s", got)
	}
	if n := env.Counters.Truncated.Load(); n != 50 {
		t.Errorf("%d truncated records counted, want 50", n)
	}
}
