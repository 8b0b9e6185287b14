package recovery

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// walked returns the sequences that a walk shows, and its notes.
func walked(t testing.TB, b *builder, opt WalkOptions) (string, []string) {
	t.Helper()
	var seen checkpoint.Ranges
	var notes []string
	opt.Note = func(n string) { notes = append(notes, n) }
	b.must(Walk(context.Background(), b.fs, testDir, opt, func(f *segment.Frame) error {
		seen = seen.Add(f.First, f.Last())
		return nil
	}))
	return seen.String(), notes
}

func recordTime(sequence uint64) time.Time {
	return time.Unix(0, epochTime+int64(sequence)*1e6)
}

func TestWalkBounds(t *testing.T) {
	b := newBuilder(t)
	b.sealed(5, 5)
	b.sealed(5, 5)
	b.killed(5, 5)
	tests := map[string]struct {
		opt  WalkOptions
		want string
	}{
		"all":               {WalkOptions{}, "1-30"},
		"from":              {WalkOptions{From: Bound{Sequence: 13}}, "11-30"},
		"from, exactly":     {WalkOptions{From: Bound{Sequence: 16}}, "16-30"},
		"from, in the last": {WalkOptions{From: Bound{Sequence: 28}}, "26-30"},
		"from, beyond":      {WalkOptions{From: Bound{Sequence: 31}}, ""},
		"to":                {WalkOptions{To: Bound{Sequence: 13}}, "1-15"},
		"from and to":       {WalkOptions{From: Bound{Sequence: 8}, To: Bound{Sequence: 8}}, "6-10"},
		"from a time":       {WalkOptions{From: Bound{Time: recordTime(16)}}, "16-30"},
		"from a late time":  {WalkOptions{From: Bound{Time: recordTime(26)}}, "26-30"},
		"to a time":         {WalkOptions{To: Bound{Time: recordTime(16)}}, "1-20"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, notes := walked(t, b, test.opt)
			if got != test.want || len(notes) > 0 {
				t.Errorf("got %s, want %s, notes %q", got, test.want, notes)
			}
		})
	}
}

// TestWalkDamage passes over what is bad and says so.
func TestWalkDamage(t *testing.T) {
	tests := map[string]struct {
		hurt  func(b *builder)
		want  string
		notes int
	}{
		"frame in a sealed segment": {func(b *builder) { b.flip(0, b.of(6).offset+60) }, "1-30", 1},
		"frame in the newest":       {func(b *builder) { b.flip(2, b.of(21).offset+4) }, "1-20 26-30", 2},
		"torn tail":                 {func(b *builder) { b.append(2, "torn") }, "1-30", 1},
		"reserved space":            {func(b *builder) { b.append(2, strings.Repeat("\x00", 5000)) }, "1-30", 0},
		"header":                    {func(b *builder) { b.zero(2, 0, 4096) }, "1-30", 0},
		"trailer":                   {func(b *builder) { b.zero(0, b.sizeOf(0)-4096, 4096) }, "1-30", 1},
		"segment missing":           {func(b *builder) { b.remove(b.path(1)) }, "1-10 21-30", 1},
		"segment empty":             {func(b *builder) { b.truncate(1, 0) }, "1-10 21-30", 1},
		"stranger":                  {func(b *builder) { b.must(vfs.WriteFile(b.fs, "/data/segments/x", nil)) }, "1-30", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			b.sealed(5, 5)
			b.sealed(5, 5)
			b.killed(5, 5)
			test.hurt(b)
			got, notes := walked(t, b, WalkOptions{})
			if got != test.want || len(notes) != test.notes {
				t.Errorf("got %s, want %s, notes %q", got, test.want, notes)
			}
		})
	}
}

// TestWalkBesideWriter says nothing of what a writer is adding: a frame, or what stands before a trailer.
func TestWalkBesideWriter(t *testing.T) {
	t.Run("it goes on", func(t *testing.T) {
		b := newBuilder(t)
		b.sealed(5)
		b.killed(5)
		b.append(1, "half a frame")
		lock, err := b.fs.Lock(filepath.Join(testDir, LockFile), "the writer")
		b.must(err)
		if got, notes := walked(t, b, WalkOptions{}); got != "1-10" || len(notes) > 0 {
			t.Errorf("got %s, notes %q", got, notes)
		}
		b.must(lock.Close())
		if _, notes := walked(t, b, WalkOptions{}); len(notes) != 1 {
			t.Errorf("without the writer: notes %q", notes)
		}
	})
	t.Run("it seals and ends", func(t *testing.T) {
		b := newBuilder(t)
		b.sealed(5, 5)
		whole, err := vfs.ReadFile(b.fs, b.path(0), 1<<20)
		b.must(err)
		b.truncate(0, int64(len(whole)-4096))
		var notes []string
		opt := WalkOptions{Note: func(n string) { notes = append(notes, n) }}
		b.must(Walk(context.Background(), b.fs, testDir, opt, func(f *segment.Frame) error {
			if f.Last() == 10 {
				b.append(0, string(whole[len(whole)-4096:]))
			}
			return nil
		}))
		if len(notes) > 0 {
			t.Errorf("notes %q", notes)
		}
	})
}

// TestWalkMark stops where nobody knows that more is durable.
func TestWalkMark(t *testing.T) {
	b := newBuilder(t)
	b.sealed(5)
	b.open()
	b.durable(5)
	b.records(5)
	b.close()
	if got, _ := walked(t, b, WalkOptions{}); got != "1-15" {
		t.Errorf("all: %s", got)
	}
	if got, _ := walked(t, b, WalkOptions{Mark: true}); got != "1-10" {
		t.Errorf("to the mark: %s", got)
	}
}

// TestWalkEnds returns the error of fn as it is.
func TestWalkEnds(t *testing.T) {
	b := newBuilder(t)
	b.sealed(5, 5)
	stop := errors.New("stop")
	calls := 0
	err := Walk(context.Background(), b.fs, testDir, WalkOptions{}, func(*segment.Frame) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
	if err := Walk(context.Background(), b.fs, "/nowhere", WalkOptions{}, nil); err == nil {
		t.Error("a walk over nothing")
	}
}

// TestWalkSegment reads one file, wherever it is and whatever state it is in.
func TestWalkSegment(t *testing.T) {
	walk := func(b *builder, file string) (string, []string, error) {
		var seen checkpoint.Ranges
		var notes []string
		err := WalkSegment(context.Background(), b.fs, file, WalkOptions{Note: func(n string) { notes = append(notes, n) }}, func(f *segment.Frame) error {
			seen = seen.Add(f.First, f.Last())
			return nil
		})
		return seen.String(), notes, err
	}
	b := newBuilder(t)
	b.sealed(5, 5)
	b.killed(5, 5)
	b.must(b.fs.MkdirAll("/elsewhere"))
	for i, want := range []string{"1-10", "11-20"} {
		away := filepath.Join("/elsewhere", []string{"renamed", b.made[1].String()}[i])
		b.must(b.fs.Rename(b.path(i), away))
		b.made[i] = segment.Name{}
		if got, notes, err := walk(b, away); got != want || len(notes) > 0 || err != nil {
			t.Errorf("got %s, want %s, notes %q, %v", got, want, notes, err)
		}
	}
	sealed := "/elsewhere/renamed"
	edit(t, b.fs, sealed, func(data []byte) []byte { data[b.placed[1].offset+60] ^= 1; clear(data[:4096]); return data })
	if got, notes, err := walk(b, sealed); got != "1-10" || len(notes) == 0 || err != nil {
		t.Errorf("damaged: got %s, notes %q, %v", got, notes, err)
	}
	edit(t, b.fs, sealed, func(data []byte) []byte { return data[:len(data)-100] })
	if _, _, err := walk(b, sealed); err == nil {
		t.Error("a segment without header, trailer and name was read")
	}
	if _, _, err := walk(b, "/elsewhere/none"); err == nil {
		t.Error("a missing file was read")
	}
}

// TestWalkFollow waits for frames, over the end of a segment, until the bound is reached.
func TestWalkFollow(t *testing.T) {
	b := newBuilder(t)
	b.open()
	b.durable(5)
	var seen []uint64
	steps := []func(){
		func() { b.durable(5) },
		func() { b.seal(); b.open(); b.full(); b.durable(5) },
		func() { b.allocate(4096); b.durable(5) },
	}
	err := Walk(context.Background(), b.fs, testDir, WalkOptions{Follow: true, Mark: true, To: Bound{Sequence: 20}}, func(f *segment.Frame) error {
		seen = append(seen, f.First)
		if len(steps) > 0 {
			steps[0]()
			steps = steps[1:]
		} else {
			b.durable(5) // what ends the walk
		}
		return nil
	})
	if err != nil || !reflect.DeepEqual(seen, []uint64{1, 6, 11, 16}) {
		t.Errorf("saw %v, %v", seen, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = Walk(ctx, b.fs, testDir, WalkOptions{Follow: true}, func(f *segment.Frame) error {
		if f.Last() == 25 {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Errorf("ended by its context: %v", err)
	}
}

// TestSurvey is what stat shows.
func TestSurvey(t *testing.T) {
	b := checked(t)
	b.must(vfs.WriteFile(b.fs, "/data/segments/x", nil))
	l := openLedger(t, b.fs)
	b.must(l.Add(Loss{First: 61, Last: 120, Count: 60, Cause: causeMissing, Acknowledged: Acknowledged}))
	b.must(l.Add(Loss{Count: 7, Cause: "drop_newest", Acknowledged: NotAcknowledged}))
	b.must(l.Close())
	b.remove(b.path(1))
	s, err := TakeSurvey(b.fs, testDir)
	b.must(err)
	if s.Queue != b.queue.String() || s.Starts != 1 || s.Running || s.Records != 130 || s.FirstSequence != 1 || s.LastSequence != 190 {
		t.Errorf("survey %+v", s)
	}
	if s.LostRecords != 67 || s.Losses != 2 || !reflect.DeepEqual(s.Gaps, []Gap{{61, 120}}) || len(s.Notes) != 1 {
		t.Errorf("lost %d in %d lines, gaps %v, notes %q", s.LostRecords, s.Losses, s.Gaps, s.Notes)
	}
	if len(s.Segments) != 3 || s.Segments[2].Sealed || !s.Segments[1].Sealed || s.Segments[2].First != 181 || s.Segments[2].Last != 190 ||
		s.Segments[2].Records != 10 || !s.Segments[2].MaxTime.Equal(recordTime(186)) {
		t.Errorf("segments %+v", s.Segments)
	}
	// The backlog begins with the frame that holds 171, in the second segment, and has all of the third one's.
	frame := b.of(171)
	end := trailerOf(t, b, 2).DataEnd
	last := b.placed[len(b.placed)-1]
	want := []SurveyedOutput{{
		Name: "hq", Position: 171, BacklogRecords: 20, Oldest: recordTime(161).UTC(),
		BacklogBytes: end - frame.offset + last.offset + last.size - segment.HeaderSize,
	}}
	if !reflect.DeepEqual(s.Outputs, want) {
		t.Errorf("outputs %+v, want %+v", s.Outputs, want)
	}
	lock, err := b.fs.Lock(filepath.Join(testDir, LockFile), "test")
	b.must(err)
	if s, err := TakeSurvey(b.fs, testDir); err != nil || !s.Running {
		t.Errorf("running is %t, %v", s.Running, err)
	}
	b.must(lock.Close())
}
