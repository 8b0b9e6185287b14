package judge

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// run makes n acknowledged records of one source; fault changes what arrives.
func run(t *testing.T, n int, fault func(j *Judge, s *Source, lines [][]byte) [][]byte) Finding {
	t.Helper()
	j := New(7)
	s := j.Source("a")
	var lines [][]byte
	for range n {
		record, number := s.Append(nil, 60)
		s.Acknowledged(number, number)
		lines = append(lines, record)
	}
	d := j.Destination("out")
	for _, line := range fault(j, s, lines) {
		d.Arrived(line)
	}
	if got := j.Verdict().Findings[0]; got.Lost.Count != d.Owes() {
		t.Errorf("Owes says %d, the verdict says %d lost", d.Owes(), got.Lost.Count)
	}
	return j.Verdict().Findings[0]
}

func TestJudgeFindsPlantedFaults(t *testing.T) {
	type counts struct{ Lost, Altered, Invented, Refused, Disordered, Doubled uint64 }
	for name, c := range map[string]struct {
		fault func(j *Judge, s *Source, lines [][]byte) [][]byte
		want  counts
	}{
		"nothing wrong": {func(_ *Judge, _ *Source, l [][]byte) [][]byte { return l }, counts{}},
		"first lost":    {func(_ *Judge, _ *Source, l [][]byte) [][]byte { return l[1:] }, counts{Lost: 1}},
		"last lost":     {func(_ *Judge, _ *Source, l [][]byte) [][]byte { return l[:99] }, counts{Lost: 1}},
		"all lost":      {func(*Judge, *Source, [][]byte) [][]byte { return nil }, counts{Lost: 100}},
		"filler altered": {func(_ *Judge, _ *Source, l [][]byte) [][]byte { l[5][50] ^= 1; return l },
			counts{Lost: 1, Altered: 1}},
		"number altered": {func(_ *Judge, _ *Source, l [][]byte) [][]byte { l[5][4] = '9'; return l },
			counts{Lost: 1, Altered: 1}},
		"cut": {func(_ *Judge, _ *Source, l [][]byte) [][]byte { l[5] = l[5][:40]; return l },
			counts{Lost: 1, Altered: 1}},
		"two joined": {func(_ *Judge, _ *Source, l [][]byte) [][]byte {
			l[5] = append(l[5], l[6]...)
			return slices.Delete(l, 6, 7)
		}, counts{Lost: 2, Altered: 1}},
		"empty record": {func(_ *Judge, _ *Source, l [][]byte) [][]byte { return append(l, nil) }, counts{Altered: 1}},
		"another run": {func(_ *Judge, _ *Source, l [][]byte) [][]byte {
			r, _ := New(8).Source("a").Append(nil, 60)
			return append(l, r)
		}, counts{Altered: 1}},
		"unknown source": {func(_ *Judge, _ *Source, l [][]byte) [][]byte {
			r, _ := New(7).Source("b").Append(nil, 60)
			return append(l, r)
		}, counts{Invented: 1}},
		"never sent": {func(_ *Judge, s *Source, l [][]byte) [][]byte {
			return append(l, appendRecord(nil, salt(7), "a", s.Sent()+1, 60, []byte("x")))
		}, counts{Invented: 1}},
		"number zero": {func(_ *Judge, _ *Source, l [][]byte) [][]byte {
			return append(l, appendRecord(nil, salt(7), "a", 0, 60, []byte("x")))
		}, counts{Invented: 1}},
		"stored though refused": {func(_ *Judge, s *Source, l [][]byte) [][]byte {
			r, n := s.Append(nil, 60)
			s.Refused(n, n)
			return append(l, r)
		}, counts{Refused: 1}},
		"sent, neither acknowledged nor refused, and gone": {func(_ *Judge, s *Source, l [][]byte) [][]byte {
			_, _ = s.Append(nil, 60)
			return l
		}, counts{}},
		"two swapped": {func(_ *Judge, _ *Source, l [][]byte) [][]byte { l[5], l[6] = l[6], l[5]; return l },
			counts{Disordered: 1}},
		"a batch again": {func(_ *Judge, _ *Source, l [][]byte) [][]byte { return slices.Insert(l, 20, l[10:20]...) },
			counts{Doubled: 10}},
		"an old record again": {func(_ *Judge, _ *Source, l [][]byte) [][]byte { return append(l, l[0]) },
			counts{Doubled: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			f := run(t, 100, c.fault)
			got := counts{f.Lost.Count, f.Altered.Count, f.Invented.Count, f.Refused.Count, f.Disordered.Count, f.Doubled.Count}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			v := Verdict{Seed: 7, Findings: []Finding{f}}
			if bad := c.want != (counts{}); (v.Err(0) != nil) != bad {
				t.Errorf("Err(0) = %v, want an error: %v", v.Err(0), bad)
			}
			if only := (counts{Doubled: c.want.Doubled}); c.want == only && v.Err(c.want.Doubled) != nil {
				t.Errorf("Err(%d) = %v, want nil", c.want.Doubled, v.Err(c.want.Doubled))
			}
		})
	}
}

func TestVerdictTellsPlacesAndSeed(t *testing.T) {
	f := run(t, 100, func(_ *Judge, _ *Source, l [][]byte) [][]byte {
		l = slices.Insert(l, 20, l[10:20]...)
		return slices.Delete(l, 50, 60)
	})
	if want := []string{"a 41 to 50"}; !slices.Equal(f.Lost.Where, want) {
		t.Errorf("lost at %q, want %q", f.Lost.Where, want)
	}
	if want := []string{"arrival 21: a from 11 on"}; !slices.Equal(f.Doubled.Where, want) {
		t.Errorf("doubled at %q, want %q", f.Doubled.Where, want)
	}
	if page := (Verdict{Seed: 42, Findings: []Finding{f}}).String(); !strings.Contains(page, "LOGMULE_SEED=42") {
		t.Errorf("the page does not say how to repeat the run:\n%s", page)
	}
}

// Each destination is owed everything: what one has does not excuse the other.
func TestDestinationsAreJudgedApart(t *testing.T) {
	j := New(1)
	s := j.Source("a")
	full, half := j.Destination("full"), j.Destination("half")
	for n := range 10 {
		record, number := s.Append(nil, 60)
		s.Acknowledged(number, number)
		full.Arrived(record)
		if n < 5 {
			half.Arrived(record)
		}
	}
	v := j.Verdict()
	if full, half := v.Findings[0].Lost.Count, v.Findings[1].Lost.Count; full != 0 || half != 5 {
		t.Errorf("lost %d and %d, want 0 and 5", full, half)
	}
}

func TestRandIsRepeatable(t *testing.T) {
	if New(3).Rand("kills").Uint64() != New(3).Rand("kills").Uint64() {
		t.Error("the same seed and purpose gave different numbers")
	}
	if New(3).Rand("kills").Uint64() == New(3).Rand("sizes").Uint64() {
		t.Error("two purposes share their numbers")
	}
}

// Whatever mixture of faults, the counts are exact.
func TestJudgeCountsExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := New(rapid.Uint64().Draw(t, "seed"))
		s, d := j.Source("s"), j.Destination("d")
		var want Finding
		for range rapid.IntRange(1, 200).Draw(t, "records") {
			record, number := s.Append(nil, rapid.IntRange(0, 300).Draw(t, "size"))
			switch rapid.SampledFrom([]string{"deliver", "lose", "alter", "double", "unknown"}).Draw(t, "fate") {
			case "deliver":
				s.Acknowledged(number, number)
				d.Arrived(record)
			case "lose":
				s.Acknowledged(number, number)
				want.Lost.Count++
			case "alter":
				record[rapid.IntRange(0, len(record)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
				d.Arrived(record)
				want.Altered.Count++
			case "double":
				s.Acknowledged(number, number)
				d.Arrived(record)
				d.Arrived(record)
				want.Doubled.Count++
			case "unknown":
			}
		}
		got := j.Verdict().Findings[0]
		if got.Lost.Count != want.Lost.Count || got.Altered.Count != want.Altered.Count || got.Doubled.Count != want.Doubled.Count ||
			got.Invented.Count+got.Refused.Count+got.Disordered.Count != 0 {
			t.Fatalf("want %d lost, %d altered, %d doubled\n%s", want.Lost.Count, want.Altered.Count, want.Doubled.Count, j.Verdict())
		}
	})
}

// Judging keeps bits, not records.
func TestMemoryIsBitsForEachRecord(t *testing.T) {
	const n = 1_000_000
	j := New(5)
	s, d := j.Source("s"), j.Destination("d")
	var record []byte
	for range n {
		var number uint64
		record, number = s.Append(record[:0], 40)
		s.Acknowledged(number, number)
		d.Arrived(record)
	}
	if err := j.Verdict().Err(0); err != nil {
		t.Fatal(err)
	}
	words := len(s.acknowledged.words) + len(s.refused.words) + len(d.sources["s"].seen.words)
	if words*64 > 4*n {
		t.Errorf("%d bits for %d records", words*64, n)
	}
	if allocs := testing.AllocsPerRun(100, func() { record, _ = s.Append(record[:0], 40); d.Arrived(record) }); allocs > 0 {
		t.Errorf("Arrived allocates %v times a record", allocs)
	}
	if bytes.IndexByte(record, '\n') >= 0 {
		t.Error("a record holds a LF")
	}
}

// TestJudgeAsOfNow: a copy owes what was acknowledged before it was made; what came later may be in it.
func TestJudgeAsOfNow(t *testing.T) {
	j := New(7)
	s := j.Source("a")
	var records [][]byte
	send := func() {
		record, number := s.Append(nil, 60)
		s.Acknowledged(number, number)
		records = append(records, record)
	}
	send()
	send()
	d := j.DestinationAsOfNow("copy")
	send()
	j.Source("b").Acknowledged(1, 1)
	if owes := d.Owes(); owes != 2 {
		t.Errorf("owes %d records", owes)
	}
	d.Arrived(records[0])
	if f := j.Verdict().Findings[0]; f.Lost.Count != 1 || f.Owed != 2 {
		t.Errorf("%+v", f)
	}
	d.Arrived(records[1])
	d.Arrived(records[2])
	if err := j.Verdict().Err(0); err != nil || d.Owes() != 0 {
		t.Error(err)
	}
}
