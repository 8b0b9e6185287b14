package recovery

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

func inQuarantine(name string) string { return filepath.Join(testDir, quarantineDir, name) }

func listKept(t testing.TB, fsys vfs.FS) map[string]Kept {
	t.Helper()
	all, err := ListQuarantine(fsys, testDir)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Kept{}
	for _, k := range all {
		byName[k.Name] = k
	}
	return byName
}

// TestListQuarantine: what the start and a healing leave there is explained, and only what stands elsewhere too loses
// nothing.
func TestListQuarantine(t *testing.T) {
	for name, test := range damagedOnes {
		t.Run(name, func(t *testing.T) {
			b, _ := hurtQueue(t, test.hurt)
			h, err := Heal(b.fs, testDir, b.made[0], HealOptions{})
			if err != nil || !h.Replaced {
				t.Fatalf("%+v, %v", h, err)
			}
			k := listKept(t, b.fs)[b.made[0].String()+damagedSuffix]
			if k.Kind != KeptSegment || k.Segment != b.made[0].String() || !k.Replaced || k.Room == 0 || k.Size != k.Length {
				t.Errorf("%+v", k)
			}
			if k.LosesNothing != (test.lost == "") {
				t.Errorf("loses nothing: %v, lost for good: %q (%s)", k.LosesNothing, test.lost, k.Why)
			}
		})
	}
}

// TestListQuarantineOfAStart: damage in the newest segment is copied and written down; the list has both.
func TestListQuarantineOfAStart(t *testing.T) {
	b := newBuilder(t)
	b.killed(5, 5, 5)
	b.flip(0, b.of(7).offset+70)
	mustStart(t, b.fs, nil)
	at := b.of(7)
	name := fmt.Sprintf("%s-%d-%d.bin", b.made[0], at.offset, at.size)
	all := listKept(t, b.fs)
	k := all[name]
	if len(all) != 1 || k.Kind != KeptBytes || k.Offset != at.offset || k.Length != at.size || k.Cause != causeChecksum || k.LosesNothing || k.Count != 5 ||
		len(k.Lost) != 1 || k.Lost[0] != (Gap{6, 10}) {
		t.Errorf("%+v", all)
	}
	b.must(b.fs.Remove(filepath.Join(testDir, ledgerFile)))
	if k := listKept(t, b.fs)[name]; k.LosesNothing || !strings.Contains(k.Why, "a line that was lost") {
		t.Errorf("without the ledger: %s", k.Why)
	}
	c, err := ShowQuarantined(b.fs, testDir, name)
	if err != nil || c.Frames != 0 || len(c.Bad) != 1 || c.Bad[0] != (segment.Span{Offset: at.offset, Size: at.size}) || len(c.Found) == 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestDroppedCopies: what the ledger tells of does not point at copies that were dropped.
func TestDroppedCopies(t *testing.T) {
	b := newBuilder(t)
	b.killed(5, 5, 5)
	b.flip(0, b.of(7).offset+70)
	mustStart(t, b.fs, nil)
	name := fmt.Sprintf("%s/%s-%d-%d.bin", quarantineDir, b.made[0], b.of(7).offset, b.of(7).size)
	if line := check(t, b.fs).Ledger[0].Line(); !strings.HasSuffix(line, "; the bytes are in "+name) {
		t.Error(line)
	}
	if dropped, err := DropQuarantined(b.fs, testDir, slices.Collect(maps.Values(listKept(t, b.fs)))); err != nil || len(dropped) != 1 {
		t.Fatal(dropped, err)
	}
	if line := check(t, b.fs).Ledger[0].Line(); !strings.HasSuffix(line, "; the bytes were in "+name+", now gone") || strings.Contains(line, "are in") {
		t.Error(line)
	}
	if s, err := TakeSurvey(b.fs, testDir); err != nil || len(s.ByCause) != 1 || !slices.Equal(s.ByCause[0].Dropped, []string{name}) || len(s.ByCause[0].Quarantine) > 0 {
		t.Errorf("%+v, %v", s.ByCause, err)
	}
}

// TestQuarantineCountsOnce: a second name takes no room.
func TestQuarantineCountsOnce(t *testing.T) {
	b, _ := hurtQueue(t, damagedOnes["a bit"].hurt)
	b.must(b.fs.MkdirAll(filepath.Join(testDir, quarantineDir)))
	linked := b.made[0].String() + damagedSuffix
	room := func(files int, want int64) {
		t.Helper()
		if n, got, err := QuarantineRoom(b.fs, testDir); n != files || got != want || err != nil {
			t.Errorf("%d files take %d bytes, %v; want %d, %d", n, got, err, files, want)
		}
	}
	room(0, 0)
	b.must(b.fs.Link(b.path(0), inQuarantine(linked)))
	room(1, 0) // as a healing that was cut short leaves it
	if k := listKept(t, b.fs)[linked]; k.Replaced || !k.LosesNothing {
		t.Errorf("%+v", k)
	}
	h, err := Heal(b.fs, testDir, b.made[0], HealOptions{})
	if err != nil || !h.Replaced {
		t.Fatalf("%+v, %v", h, err)
	}
	size := (b.sizeOf(0) + 511) / 512 * 512
	room(1, size)
	b.must(b.fs.Link(inQuarantine(linked), inQuarantine(linked+".2")))
	room(2, size)
	b.must(vfs.WriteFile(b.fs, inQuarantine("notes"), make([]byte, 512)))
	room(3, size+512)
}

// TestTrimOriginals: of what healed segments have replaced only as much stays as fits, and nothing else goes: not what parity
// could not give back, nor a segment of which records were lost later, nor a range.
func TestTrimOriginals(t *testing.T) {
	b := newBuilder(t)
	b.codec = segment.None
	for range 4 {
		b.sealed(10, 10, 10, 10, 10, 10)
	}
	b.killed(5)
	for i := range 4 {
		b.flip(i, b.of(uint64(i*60+15)).offset+70)
		if i == 1 { // more than its parity gives back
			at := b.of(72).offset / 64 * 64
			b.zero(i, at, 64)
			b.zero(i, at+32*64, 64)
			b.flip(i, b.of(62).offset+70)
		}
		h, err := Heal(b.fs, testDir, b.made[i], HealOptions{})
		if err != nil || !h.Replaced {
			t.Fatalf("segment %d: %+v, %v", i, h, err)
		}
	}
	b.must(vfs.WriteFile(b.fs, inQuarantine(b.made[3].String()+"-4096-8.bin"), []byte("scribble")))
	l, err := OpenLedger(b.fs, testDir)
	b.must(err)
	b.must(l.Add(Loss{First: 121, Last: 122, Count: 2, Cause: causeChecksum}, Loss{First: 190, Last: 191, Count: 2, Cause: "drop_oldest"}))
	b.must(l.Close())
	kept := func() string {
		var is []string
		for i := range 4 {
			if slices.Contains(quarantined(t, b.fs), b.made[i].String()+damagedSuffix) {
				is = append(is, fmt.Sprint(i))
			}
		}
		return strings.Join(is, " ")
	}
	never := func() bool { return false }
	size := (b.sizeOf(0) + 511) / 512 * 512
	o := Originals{FS: b.fs, Dir: testDir}
	for _, step := range []struct {
		limit int64
		want  string
	}{{4 * size, "0 1 2 3"}, {4*size - 1, "1 2 3"}, {2 * size, "1 2 3"}, {size, "1 2 3"}, {0, "1 2"}, {0, "1 2"}} {
		if _, err := o.Trim(step.limit, never); err != nil {
			t.Fatal(err)
		}
		if got := kept(); got != step.want {
			t.Errorf("limit %d leaves %s, want %s", step.limit, got, step.want)
		}
	}
	if !slices.Contains(quarantined(t, b.fs), b.made[3].String()+"-4096-8.bin") {
		t.Error("a range has gone")
	}
}

// TestTrimOriginalsEnds where it is asked to, before it reads another one.
func TestTrimOriginalsEnds(t *testing.T) {
	b, _ := hurtQueue(t, damagedOnes["a bit"].hurt)
	if h, err := Heal(b.fs, testDir, b.made[0], HealOptions{}); err != nil || !h.Replaced {
		t.Fatalf("%+v, %v", h, err)
	}
	o := Originals{FS: b.fs, Dir: testDir}
	if dropped, err := o.Trim(0, func() bool { return true }); err != nil || len(dropped) > 0 {
		t.Errorf("%v, %v", dropped, err)
	}
	if dropped, err := o.Trim(0, func() bool { return false }); err != nil || len(dropped) != 1 || dropped[0].Room == 0 {
		t.Errorf("%v, %v", dropped, err)
	}
}

// TestDropQuarantined drops what it is given and nothing that a healing needs, that somebody else put there, or that is in a directory.
func TestDropQuarantined(t *testing.T) {
	b, _ := hurtQueue(t, damagedOnes["a bit"].hurt)
	b.must(b.fs.MkdirAll(inQuarantine("identity.damaged.1")))
	b.must(b.fs.MkdirAll(inQuarantine("theirs/deep")))
	b.must(b.fs.MkdirAll(inQuarantine("empty")))
	b.must(b.fs.MkdirAll(inQuarantine("losses.jsonl.damaged.1")))
	bytes, linked := b.made[0].String()+"-4096-1.bin", b.made[0].String()+damagedSuffix
	strangers := []string{"theirs/deep/file", "notes", "notes.tmp", "a.bin", b.made[0].String()}
	for _, name := range append(strangers, bytes, bytes+".tmp", "reserve.tmp.damaged.2", "identity-0-7.bin.2", "losses.jsonl.damaged.1/inside") {
		b.must(vfs.WriteFile(b.fs, inQuarantine(name), []byte("x")))
	}
	b.must(b.fs.Link(b.path(0), inQuarantine(linked)))
	all := slices.Collect(maps.Values(listKept(t, b.fs)))
	lock, err := b.fs.Lock(filepath.Join(testDir, LockFile), "daemon")
	b.must(err)
	dropped, err := DropQuarantined(b.fs, testDir, all)
	if len(dropped) != 4 || err == nil || !strings.Contains(err.Error(), linked+" is in use by the daemon; ") {
		t.Errorf("%v, %v", dropped, err)
	}
	b.must(lock.Close())
	dropped, err = DropQuarantined(b.fs, testDir, all)
	if len(dropped) != 6 || err == nil || strings.Contains(err.Error(), "in use") {
		t.Errorf("%v, %v", dropped, err)
	}
	if got, want := fmt.Sprint(quarantined(t, b.fs)), fmt.Sprint([]string{b.made[0].String(), "a.bin", "empty", "losses.jsonl.damaged.1", "notes", "notes.tmp", "theirs"}); got != want {
		t.Errorf("%s are left, want %s", got, want)
	}
	for _, name := range append(strangers, "losses.jsonl.damaged.1/inside") {
		if _, err := b.fs.Stat(inQuarantine(name)); err != nil {
			t.Error(err)
		}
	}
	if info, err := b.fs.Stat(b.path(0)); err != nil || info.Size() == 0 {
		t.Error("the segment itself has gone")
	}
}

// TestShowQuarantined: of a segment that was healed both what was found and what stood there are shown.
func TestShowQuarantined(t *testing.T) {
	b, was := hurtQueue(t, damagedOnes["a bit"].hurt)
	bad := contentOf(t, b.fs, b.path(0))
	if h, err := Heal(b.fs, testDir, b.made[0], HealOptions{}); err != nil || !h.Replaced {
		t.Fatalf("%+v, %v", h, err)
	}
	c, err := ShowQuarantined(b.fs, testDir, b.made[0].String()+damagedSuffix)
	if err != nil || c.Header == nil || c.Header.First != 1 || c.Sealed == nil || c.Sealed.Last != 60 || c.Records != 50 || len(c.Bad) != 1 || len(c.Healed) != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	n := int64(len(c.Found))
	if !bytes.Equal(c.Found, bad[c.At:c.At+n]) || !bytes.Equal(c.Was, was[c.At:c.At+n]) || bytes.Equal(c.Found, c.Was) {
		t.Errorf("from %d: % x, was % x", c.At, c.Found, c.Was)
	}
	if _, err := ShowQuarantined(b.fs, testDir, "none"); err == nil {
		t.Error("what is not there is shown")
	}
	if _, err := ListQuarantine(b.fs, "/"); err == nil {
		t.Error("a directory without a queue is listed")
	}
	if r, err := Check(context.Background(), b.fs, testDir, CheckOptions{}); err != nil || !r.Clean {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestKeptNamed(t *testing.T) {
	const seg = "00000000000000000001-00000000000000ff.seg"
	for name, want := range map[string]Kept{
		seg + ".damaged":                 {Kind: KeptSegment, Segment: seg},
		seg + ".damaged.12":              {Kind: KeptSegment, Segment: seg},
		seg + ".damaged.x":               {Kind: KeptOther, Segment: seg, Stranger: true},
		seg + "-4096-512.bin":            {Kind: KeptBytes, Segment: seg, Offset: 4096, Length: 512},
		seg + "-4096-512.bin.3":          {Kind: KeptBytes, Segment: seg, Offset: 4096, Length: 512},
		seg + "-4096.bin":                {Kind: KeptOther, Segment: seg, Stranger: true},
		seg + "--1-512.bin":              {Kind: KeptOther, Segment: seg, Stranger: true},
		seg + "-4096-512.bin.tmp":        {Kind: KeptLeftover},
		seg + ".tmp":                     {Kind: KeptOther, Stranger: true},
		"notes.tmp":                      {Kind: KeptOther, Stranger: true},
		"LOCK.damaged.1":                 {Kind: KeptOther},
		"identity.tmp.damaged.1":         {Kind: KeptOther},
		"identity-0-80.bin":              {Kind: KeptOther},
		seg:                              {Kind: KeptOther, Stranger: true},
		"checkpoints.db.1700000000":      {Kind: KeptCheckpoints},
		"checkpoints.db.damaged":         {Kind: KeptCheckpoints},
		"checkpoints.db.damaged.2":       {Kind: KeptCheckpoints},
		"checkpoints.db":                 {Kind: KeptOther, Stranger: true},
		"identity.1700000000":            {Kind: KeptOther, Stranger: true},
		strings.Repeat("9", 20) + ".bin": {Kind: KeptOther, Stranger: true},
	} {
		k := keptNamed(name)
		if k.Kind != want.Kind || k.Stranger != want.Stranger || k.Segment != want.Segment || k.Offset != want.Offset || k.Length != want.Length {
			t.Errorf("%s: %+v", name, k)
		}
	}
}
