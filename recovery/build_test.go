package recovery

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

const testDir = "/data"

// epochTime is when the clock of the tests starts, unix nanoseconds; record n arrives n milliseconds later.
const epochTime = int64(1_700_000_000_000_000_000)

// builder writes a queue directory as the queue does, with everything under the test's control.
type builder struct {
	t     testing.TB
	fs    *faultfs.FS
	size  uint64
	codec segment.Codec

	queue  segment.ID
	epoch  segment.Epoch
	next   uint64 // the next sequence
	mark   uint64
	link   segment.Link
	w      *segment.Writer
	placed []placed
	made   []segment.Name
}

// placed is a frame that was written.
type placed struct {
	name         segment.Name
	kind         segment.Type
	first, last  uint64
	offset, size int64
}

func newBuilder(t testing.TB) *builder {
	b := &builder{t: t, fs: faultfs.New(), size: 64 << 10, codec: segment.Snappy, queue: segment.ID{1, 2, 3}, next: 1}
	b.must(b.fs.MkdirAll(filepath.Join(testDir, SegmentDir)))
	b.start()
	return b
}

func (b *builder) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// start begins another life of the process.
func (b *builder) start() {
	b.t.Helper()
	b.epoch = segment.Epoch{Starts: b.epoch.Starts + 1, Random: 99}
	b.must(writeIdentity(b.fs, testDir, b.queue, b.epoch.Starts))
}

// open begins a segment. The salts are fixed, and fall: names do not say which of two segments is the later one.
func (b *builder) open() {
	b.t.Helper()
	h := segment.Header{
		Queue: b.queue, Epoch: b.epoch, Salt: 0xabff - uint64(len(b.made)), First: b.next, Previous: b.link,
		Created: epochTime, Size: b.size,
	}
	w, err := segment.Create(b.fs, filepath.Join(testDir, SegmentDir), h)
	b.must(err)
	b.w = w
	b.made = append(b.made, h.Name())
	b.link.Salt = h.Salt
}

func (b *builder) frame(h segment.FrameHeader, runs []segment.Run, raw []byte) {
	b.t.Helper()
	h.Mark = b.mark
	h.Time = epochTime + int64(h.First)*1e6
	buf := segment.EncodeFrame(nil, &h, runs, raw, b.codec)
	at := b.w.End()
	h.Put(buf, b.w.Header().Salt, at)
	b.must(b.w.Write([]segment.FrameHeader{h}, [][]byte{buf}))
	b.placed = append(b.placed, placed{b.w.Name(), h.Type, h.First, h.Last(), at, int64(len(buf))})
}

func payload(sequence uint64) string {
	return fmt.Sprintf("record %d %s", sequence, strings.Repeat("abcdefgh", int(sequence%7)))
}

// records writes one frame of n records, without a source position.
func (b *builder) records(n int) { b.t.Helper(); b.sourced(n, "", "") }

// sourced writes one frame of n records with a source position.
func (b *builder) sourced(n int, key, position string) {
	b.t.Helper()
	var raw []byte
	for i := range n {
		raw = append(raw, payload(b.next+uint64(i))+"\n"...)
	}
	runs := []segment.Run{{
		Form: segment.Lines, Count: uint32(n), Raw: uint32(len(raw)), Key: []byte(key), Position: []byte(position),
	}}
	b.frame(segment.FrameHeader{Type: segment.Data, First: b.next}, runs, raw)
	b.next += uint64(n)
}

// sync makes the mark pass everything written.
func (b *builder) sync() {
	b.t.Helper()
	b.must(b.w.Sync())
	b.mark, b.link.Last = b.next-1, b.next-1
}

// durable writes frames of these numbers of records, each synced before the next, and a marker.
func (b *builder) durable(counts ...int) {
	b.t.Helper()
	for _, n := range counts {
		b.records(n)
		b.sync()
	}
	b.marker()
	b.sync()
}

func (b *builder) marker() {
	b.t.Helper()
	b.frame(segment.FrameHeader{Type: segment.Marker, First: b.next}, nil, nil)
}

func (b *builder) gap(n int) {
	b.t.Helper()
	b.frame(segment.FrameHeader{Type: segment.Gap, First: b.next, Count: uint32(n)}, nil, []byte("given up"))
	b.next += uint64(n)
}

// positions writes one frame of positions. Values of outputs are floors in decimal.
func (b *builder) positions(p segment.Positions) {
	b.t.Helper()
	b.frame(segment.FrameHeader{Type: segment.PositionsFrame, First: b.next}, nil, segment.AppendPositions(nil, p))
}

// full writes a complete set.
func (b *builder) full(pairs ...segment.Pair) {
	b.t.Helper()
	b.positions(segment.Positions{Full: true, Parts: 1, Pairs: pairs})
}

func (b *builder) delta(pairs ...segment.Pair) {
	b.t.Helper()
	b.positions(segment.Positions{Pairs: pairs})
}

func (b *builder) at(output string, floor uint64) segment.Pair {
	b.t.Helper()
	value, err := checkpoint.Position{Floor: floor}.Encode()
	b.must(err)
	return segment.Pair{Key: checkpoint.Key(output), Value: value}
}

// seal ends the segment as a clean roll does.
func (b *builder) seal() {
	b.t.Helper()
	b.sync()
	_, err := b.w.Seal(b.mark)
	b.must(err)
	b.close()
}

// close leaves the segment as a killed process does.
func (b *builder) close() {
	b.t.Helper()
	b.must(b.w.Close())
	b.w = nil
}

// allocate reserves space behind the frames.
func (b *builder) allocate(n int64) {
	b.t.Helper()
	b.must(b.w.File().Allocate(b.w.End(), n))
}

// sealed makes a sealed segment of such frames.
func (b *builder) sealed(counts ...int) {
	b.t.Helper()
	b.open()
	b.durable(counts...)
	b.seal()
}

// killed makes an unsealed segment of such frames.
func (b *builder) killed(counts ...int) {
	b.t.Helper()
	b.open()
	b.durable(counts...)
	b.close()
}

// path of segment i in the order in which they were made.
func (b *builder) path(i int) string { return segmentPath(testDir, b.made[i]) }

// of is the frame that holds a sequence.
func (b *builder) of(sequence uint64) placed {
	b.t.Helper()
	for _, p := range slices.Backward(b.placed) {
		if p.kind == segment.Data && p.first <= sequence && sequence <= p.last {
			return p
		}
	}
	b.t.Fatalf("no frame holds sequence %d", sequence)
	return placed{}
}

// edit changes the bytes of a file; the change is durable. What it returns is the new content.
func edit(t testing.TB, fsys vfs.FS, path string, change func([]byte) []byte) {
	t.Helper()
	was, err := vfs.ReadFile(fsys, path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	now := change(slices.Clone(was))
	if err := f.Truncate(int64(len(now))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(now, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// flip inverts a byte of segment i.
func (b *builder) flip(i int, offset int64) {
	b.t.Helper()
	edit(b.t, b.fs, b.path(i), func(data []byte) []byte { data[offset] ^= 0xff; return data })
}

// zero clears bytes of segment i.
func (b *builder) zero(i int, offset, length int64) {
	b.t.Helper()
	edit(b.t, b.fs, b.path(i), func(data []byte) []byte { clear(data[offset:min(offset+length, int64(len(data)))]); return data })
}

// truncate cuts segment i.
func (b *builder) truncate(i int, size int64) {
	b.t.Helper()
	edit(b.t, b.fs, b.path(i), func(data []byte) []byte { return data[:size] })
}

func (b *builder) append(i int, tail string) {
	b.t.Helper()
	edit(b.t, b.fs, b.path(i), func(data []byte) []byte { return append(data, tail...) })
}

func (b *builder) remove(name string) {
	b.t.Helper()
	b.must(b.fs.Remove(name))
	b.must(b.fs.SyncDir(filepath.Dir(name)))
}

func (b *builder) sizeOf(i int) int64 {
	b.t.Helper()
	info, err := b.fs.Stat(b.path(i))
	b.must(err)
	return info.Size()
}

// startOn runs Start on a file system, with a store that holds these floors.
func startOn(t testing.TB, fsys vfs.FS, floors map[string]uint64) (State, error) {
	t.Helper()
	store := checkpoint.NewMemory()
	positions := make(map[string]checkpoint.Position)
	for name, floor := range floors {
		positions[checkpoint.Key(name)] = checkpoint.Position{Floor: floor}
	}
	if err := store.Save(positions); err != nil {
		t.Fatal(err)
	}
	return Start(fsys, testDir, store, Options{})
}

// mustStart is startOn where nothing operational is wrong.
func mustStart(t testing.TB, fsys vfs.FS, floors map[string]uint64) State {
	t.Helper()
	state, err := startOn(t, fsys, floors)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return state
}

// surviving returns the sequences whose records Walk shows, and fails where one is not what was written.
func surviving(t testing.TB, fsys vfs.FS) checkpoint.Ranges {
	t.Helper()
	var seen checkpoint.Ranges
	err := Walk(context.Background(), fsys, testDir, WalkOptions{}, func(f *segment.Frame) error {
		sequence := f.First
		for _, r := range f.Runs {
			for line := range strings.Lines(string(r.Body)) {
				if strings.TrimSuffix(line, "\n") != payload(sequence) {
					t.Errorf("record %d is %q, want %q", sequence, line, payload(sequence))
				}
				sequence++
			}
		}
		if len(seen.Without(f.First, f.Last())) != 1 || seen.Last() >= f.First {
			t.Errorf("records %d to %d are shown twice or out of order", f.First, f.Last())
		}
		seen = seen.Add(f.First, f.Last())
		return nil
	})
	if err != nil {
		t.Fatalf("walk: %v", err)
	}
	return seen
}

// ledgered returns the lost sequences in the ledger by their acknowledgement, and fails where one is there twice.
func ledgered(t testing.TB, fsys vfs.FS) (yes, no checkpoint.Ranges) {
	t.Helper()
	losses, err := ReadLedger(fsys, testDir)
	if err != nil {
		t.Fatal(err)
	}
	var all checkpoint.Ranges
	for _, l := range losses {
		if l.First == 0 {
			continue
		}
		if left := all.Without(l.First, l.Last); len(left) != 1 || left[0].First != l.First || left[0].Last != l.Last {
			t.Errorf("records %d to %d are in the ledger twice", l.First, l.Last)
		}
		if l.Count != l.Last-l.First+1 {
			t.Errorf("the ledger counts %d records from %d to %d", l.Count, l.First, l.Last)
		}
		all = all.Add(l.First, l.Last)
		if l.Acknowledged == Acknowledged {
			yes = yes.Add(l.First, l.Last)
		} else {
			no = no.Add(l.First, l.Last)
		}
	}
	return yes, no
}

// check is Check without an operational error.
func check(t testing.TB, fsys vfs.FS) Report {
	t.Helper()
	r, err := Check(context.Background(), fsys, testDir, CheckOptions{Workers: 2})
	if err != nil {
		t.Fatalf("check: %v", err)
	}
	return r
}

// quarantined lists the quarantine.
func quarantined(t testing.TB, fsys vfs.FS) []string {
	t.Helper()
	infos, err := fsys.ReadDir(filepath.Join(testDir, quarantineDir))
	if err != nil {
		return nil
	}
	var names []string
	for _, i := range infos {
		names = append(names, i.Name())
	}
	return names
}

func floorsOf(outputs map[string]checkpoint.Position) string {
	var s []string
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		s = append(s, fmt.Sprintf("%s=%d", name, outputs[name].Floor))
	}
	return strings.Join(s, " ")
}
