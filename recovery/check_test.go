package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// checked is a directory of three sealed segments and one that was open: records 1-60, 61-120, 121-180, 181-190.
func checked(t testing.TB) *builder {
	t.Helper()
	b := newBuilder(t)
	b.codec = segment.None
	for range 3 {
		b.open()
		b.full(b.at("hq", max(b.next, 11)-10))
		b.durable(20, 20, 20)
		b.seal()
	}
	b.open()
	b.full(b.at("hq", 171))
	b.durable(5, 5)
	b.allocate(8192)
	b.close()
	return b
}

func trailerOf(t testing.TB, b *builder, i int) segment.Trailer {
	t.Helper()
	f, err := b.fs.Open(b.path(i))
	b.must(err)
	defer f.Close()
	tr, err := segment.ReadTrailer(f, b.sizeOf(i))
	b.must(err)
	return tr
}

// one is damage as the table tells it: segment (by number), cause, action, lost.
func shown(b *builder, d Damage) string {
	at := "?"
	for i, name := range b.made {
		if d.Segment == name.String() {
			at = fmt.Sprint(i)
		}
	}
	s := fmt.Sprintf("%s %s: %s", at, d.Cause, d.Action)
	if d.FirstLost > 0 {
		s += fmt.Sprintf(" %d-%d", d.FirstLost, d.LastLost)
	}
	return s
}

// TestCheck is what fsck says to each kind of damage.
func TestCheck(t *testing.T) {
	tests := []struct {
		name  string
		hurt  func(b *builder)
		want  []string
		lost  uint64
		heals bool
	}{
		{"intact", func(b *builder) {}, nil, 0, false},
		{"bit in a payload, sealed", func(b *builder) { b.flip(1, b.of(90).offset+70) }, []string{"1 checksum: would heal"}, 0, true},
		{"bit in a length field, sealed", func(b *builder) { b.flip(1, b.of(90).offset+22) }, []string{"1 checksum: would heal"}, 0, true},
		{"512 zeros, sealed", func(b *builder) { b.zero(1, b.of(90).offset+64, 512) }, []string{"1 checksum: would heal"}, 0, true},
		{"more than parity heals", func(b *builder) {
			b.zero(1, 4096, trailerOf(b.t, b, 1).DataEnd-4096)
		}, []string{"1 checksum: would heal", "1 checksum: would quarantine 61-80", "1 checksum: would quarantine 101-120"}, 40, true},
		{"padding of a sealed segment", func(b *builder) { b.flip(1, b.of(90).offset+b.of(90).size-1) }, []string{"1 checksum: would heal"}, 0, true},
		{"header of a sealed segment", func(b *builder) { b.flip(1, 100) }, []string{"1 header: would heal"}, 0, true},
		{"header zeroed, sealed", func(b *builder) { b.zero(1, 0, 4096) }, []string{"1 header: would heal"}, 0, true},
		{"first index", func(b *builder) { b.flip(1, trailerOf(b.t, b, 1).IndexA+9) }, []string{"1 index: would rebuild"}, 0, false},
		{"second index", func(b *builder) { b.flip(1, trailerOf(b.t, b, 1).IndexB+9) }, []string{"1 index: would rebuild"}, 0, false},
		{"both indexes", func(b *builder) {
			b.flip(1, trailerOf(b.t, b, 1).IndexA+9)
			b.flip(1, trailerOf(b.t, b, 1).IndexB+9)
		}, []string{"1 index: would rebuild", "1 index: would rebuild"}, 0, false},
		{"parity", func(b *builder) { b.flip(1, trailerOf(b.t, b, 1).Parity+9) }, []string{"1 checksum: would rebuild"}, 0, false},
		{"trailer of an old segment", func(b *builder) { b.zero(1, b.sizeOf(1)-4096, 4096) }, []string{"1 trailer: would rebuild"}, 0, false},
		{"trailer of the newest sealed one", func(b *builder) { b.zero(2, b.sizeOf(2)-4096, 4096) }, nil, 0, false},
		{"bytes behind a trailer", func(b *builder) { b.append(1, "more") }, []string{"1 foreign bytes: would quarantine"}, 0, false},
		{"sealed segment cut in its last frame", func(b *builder) { b.truncate(1, b.of(101).offset+40) },
			[]string{"1 checksum: would quarantine 101-120", "1 trailer: would rebuild"}, 20, false},
		{"sealed segment cut after a frame", func(b *builder) { b.truncate(1, b.of(101).offset) },
			[]string{"1 truncated: would write down 101-120", "1 trailer: would rebuild"}, 20, false},
		{"segment cut to nothing", func(b *builder) { b.truncate(1, 0) }, []string{"1 header: would write down 61-120"}, 60, false},
		{"segment overwritten", func(b *builder) {
			edit(b.t, b.fs, b.path(1), func(data []byte) []byte { return []byte(strings.Repeat("x", len(data))) })
		}, []string{"1 header: would quarantine 61-120"}, 60, false},
		{"middle segment missing", func(b *builder) { b.remove(b.path(1)) }, []string{"1 missing segment: would write down 61-120"}, 60, false},
		{"oldest segment deleted", func(b *builder) { b.remove(b.path(0)) }, nil, 0, false},
		{"newest segment missing", func(b *builder) { b.remove(b.path(3)) }, nil, 0, false},
		{"frame of the newest, below the mark", func(b *builder) { b.flip(3, b.of(183).offset+60) },
			[]string{"3 checksum: would quarantine 181-185"}, 5, false},
		{"tail of the newest, below the mark", func(b *builder) { b.zero(3, b.of(186).offset, b.of(186).size) },
			[]string{"3 zeroed: would write down 186-190"}, 5, false},
		{"torn tail", func(b *builder) {
			edit(b.t, b.fs, b.path(3), func(data []byte) []byte { copy(data[len(data)-3000:], "torn"); return data })
		}, nil, 0, false},
		{"header of the newest", func(b *builder) { b.flip(3, 100) }, []string{"3 header: would rebuild"}, 0, false},
		{"stranger, symlink, checkpoints lost", func(b *builder) {
			b.must(vfs.WriteFile(b.fs, testDir+"/segments/hello", nil))
		}, nil, 0, false},
		{"identity lost", func(b *builder) { b.remove("/data/identity") }, nil, 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := checked(t)
			test.hurt(b)
			ops := b.fs.Ops()
			r := check(t, b.fs)
			var got []string
			for _, d := range r.Damage {
				got = append(got, shown(b, d))
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %q\nwant %q\n%+v", got, test.want, r)
			}
			if r.Clean != (len(test.want) == 0) || r.LostRecords != test.lost || (r.HealedBytes > 0) != test.heals {
				t.Errorf("clean %t, %d lost, %d healed", r.Clean, r.LostRecords, r.HealedBytes)
			}
			if b.fs.Ops() != ops {
				t.Errorf("the directory was written to: %v", b.fs.Trace()[ops:])
			}
		})
	}
}

// TestCheckAfterStart: what a start has settled is history.
func TestCheckAfterStart(t *testing.T) {
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			scenario.build(b)
			before := check(t, b.fs)
			state := mustStart(t, b.fs, scenario.floors)
			if r := check(t, b.fs); !r.Clean || len(r.Damage) > 0 {
				t.Errorf("after the start: %+v", r.Damage)
			}
			if before.Clean && state.Report.LostRecords > 0 && len(scenario.floors) == 0 {
				t.Errorf("check saw no damage, start %+v", state.Report.Damage)
			}
			for i := range state.Report.Damage {
				if len(before.Damage) == len(state.Report.Damage) && before.Damage[i].Offset != state.Report.Damage[i].Offset {
					t.Errorf("check saw %+v, start %+v", before.Damage[i], state.Report.Damage[i])
				}
			}
		})
	}
}

// TestCheckIdleParity: a parity block that nothing makes again, since what it could not heal is lost, is history with it.
func TestCheckIdleParity(t *testing.T) {
	b, _ := hurtQueue(t, func(b *builder) {
		trailer, at := trailerOf(b.t, b, 0), b.of(12).offset+70
		b.flip(0, at)
		b.flip(0, trailer.Parity+at/int64(trailer.Stripe)%32*int64(trailer.Stripe))
	})
	r := check(t, b.fs)
	if len(r.Damage) != 2 || r.LostRecords != 10 {
		t.Fatalf("%d records lost, %+v", r.LostRecords, r.Damage)
	}
	ledger, err := OpenLedger(b.fs, testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Damage {
		if d.FirstLost > 0 {
			err = ledger.Add(Loss{First: d.FirstLost, Last: d.LastLost, Count: 10, Segment: d.Segment, Offset: d.Offset, Length: d.Length})
		}
	}
	if err := errors.Join(err, ledger.Close()); err != nil {
		t.Fatal(err)
	}
	if r := check(t, b.fs); !r.Clean || len(r.Damage) > 0 {
		t.Errorf("after the loss was written down: %+v", r.Damage)
	}
}

// TestCheckReport is the object that fsck --json prints.
func TestCheckReport(t *testing.T) {
	b := checked(t)
	r := check(t, b.fs)
	text, err := json.Marshal(r)
	b.must(err)
	var got map[string]any
	b.must(json.Unmarshal(text, &got))
	for _, key := range []string{
		"clean", "repaired", "segments", "records", "bytes", "first_sequence", "last_sequence", "torn_tail_bytes",
		"healed_bytes", "quarantined_bytes", "damage", "lost_records", "outputs", "notes", "version",
	} {
		if got[key] == nil {
			t.Errorf("%s is missing or null", key)
		}
	}
	if r.Segments != 4 || r.Records != 190 || r.FirstSequence != 1 || r.LastSequence != 190 {
		t.Errorf("report %+v", r)
	}
	want := []Output{{Name: "hq", Position: 171, Backlog: 20}}
	if !reflect.DeepEqual(r.Outputs, want) {
		t.Errorf("outputs %+v, want %+v", r.Outputs, want)
	}
}

// TestCheckDeep finds what only decoding shows: a frame that is not what it says under a checksum that holds.
func TestCheckDeep(t *testing.T) {
	b := newBuilder(t)
	b.open()
	b.durable(5)
	h := segment.FrameHeader{Type: segment.Data, First: b.next}
	raw := []byte("a\nb\n")
	run := segment.Run{Form: segment.Lines, Count: 2, Raw: uint32(len(raw)) + 1}
	buf := segment.EncodeFrame(nil, &h, []segment.Run{run}, raw, segment.None)
	h.Put(buf, b.w.Header().Salt, b.w.End())
	b.must(b.w.Write([]segment.FrameHeader{h}, [][]byte{buf}))
	b.next += 2
	b.durable(5)
	b.close()
	if r := check(t, b.fs); !r.Clean {
		t.Errorf("shallow: %+v", r.Damage)
	}
	r, err := Check(context.Background(), b.fs, testDir, CheckOptions{Deep: true})
	if err != nil || len(r.Damage) != 1 || shown(b, r.Damage[0]) != "0 unreadable: would quarantine 6-7" || r.Records != 10 {
		t.Errorf("deep: %v, %d records, %+v", err, r.Records, r.Damage)
	}
}

// TestCheckLive: beside a daemon what lies beyond the mark is not judged.
func TestCheckLive(t *testing.T) {
	b := checked(t)
	edit(t, b.fs, b.path(3), func(data []byte) []byte { copy(data[len(data)-3000:], "half written"); return data })
	lock, err := b.fs.Lock(filepath.Join(testDir, LockFile), "test")
	b.must(err)
	ops := b.fs.Ops()
	if r := check(t, b.fs); !r.Clean || r.TornTailBytes != 0 {
		t.Errorf("live: %+v", r)
	}
	for _, op := range b.fs.Trace()[ops:] {
		if op.Kind != faultfs.Lock {
			t.Errorf("check did %v", op)
		}
	}
	b.flip(3, b.of(183).offset+60)
	if r := check(t, b.fs); r.Clean || r.LostRecords != 5 {
		t.Errorf("live, with damage below the mark: %+v", r)
	}
	b.must(lock.Close())
	if r := check(t, b.fs); r.TornTailBytes == 0 {
		t.Errorf("not live: %+v", r)
	}
	line, err := vfs.ReadFile(b.fs, filepath.Join(testDir, LockFile), 100)
	if err != nil || string(line) != "test\n" {
		t.Errorf("the lock file holds %q, %v", line, err)
	}
}

// TestCheckMoving changes the directory under the check, as trim, roll and writer do: none of it is a finding.
func TestCheckMoving(t *testing.T) {
	tests := map[string]func(b *builder){
		"oldest deleted": func(b *builder) { b.must(b.fs.Remove(b.path(0))) },
		"newest sealed": func(b *builder) {
			f, err := b.fs.OpenWrite(b.path(3))
			b.must(err)
			end := b.placed[len(b.placed)-1]
			h := segment.Header{}
			if r, err := b.fs.Open(b.path(3)); err == nil {
				h, _ = segment.ReadHeader(r, b.sizeOf(3), b.made[3])
			}
			_, err = segment.SealRecovered(f, h, end.offset+end.size, 190)
			b.must(err)
		},
	}
	for name, move := range tests {
		t.Run(name, func(t *testing.T) {
			// The move happens at read number n of the check, for every n.
			for n := 1; ; n++ {
				b := checked(t)
				lock, err := b.fs.Lock(filepath.Join(testDir, LockFile), "test")
				b.must(err)
				reads := 0
				moved := &movingFS{FS: b.fs, before: func() {
					if reads++; reads == n {
						move(b)
					}
				}}
				r, err := Check(context.Background(), moved, testDir, CheckOptions{Workers: 1})
				if err != nil || !r.Clean {
					t.Fatalf("read %d: %v, %+v", n, err, r)
				}
				b.must(lock.Close())
				if reads < n {
					return
				}
			}
		})
	}
}

// movingFS calls before ahead of every read of a file.
type movingFS struct {
	vfs.FS
	before func()
}

type movingFile struct {
	vfs.File
	before func()
}

func (m *movingFS) Open(name string) (vfs.File, error) {
	f, err := m.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return movingFile{f, m.before}, nil
}

func (m movingFile) ReadAt(b []byte, offset int64) (int, error) {
	m.before()
	return m.File.ReadAt(b, offset)
}

// TestCheckErrors is what no report can answer.
func TestCheckErrors(t *testing.T) {
	b := checked(t)
	h := segment.Header{Incompat: 1 << 40, Queue: b.queue, Salt: 7, First: 191, Size: 1 << 16}
	b.must(vfs.WriteFile(b.fs, segmentPath(testDir, h.Name()), h.Encode()))
	r, err := Check(context.Background(), b.fs, testDir, CheckOptions{})
	var unknown *UnknownFormatError
	if !errors.As(err, &unknown) || r.Records != 190 || !r.Clean {
		t.Errorf("newer format: %v, %+v", err, r)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("stop")
	cancel(stop)
	if _, err := Check(ctx, b.fs, testDir, CheckOptions{}); !errors.Is(err, stop) {
		t.Errorf("canceled: %v", err)
	}
	b.must(b.fs.MkdirAll("/other"))
	for _, dir := range []string{"/nowhere", "/other"} {
		if _, err := Check(context.Background(), b.fs, dir, CheckOptions{}); err == nil {
			t.Errorf("%s passes for a data directory", dir)
		}
	}
}

func TestCheckProgress(t *testing.T) {
	b := checked(t)
	var last, total int64
	_, err := Check(context.Background(), b.fs, testDir, CheckOptions{Workers: 4, Progress: func(done, of int64) {
		if done < last || done > of {
			t.Errorf("%d of %d after %d", done, of, last)
		}
		last, total = done, of
	}})
	if err != nil || total == 0 || last < total/2 {
		t.Errorf("ended at %d of %d, %v", last, total, err)
	}
}
