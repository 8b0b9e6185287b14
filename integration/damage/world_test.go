package damage

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

const (
	dataDir = "/data"
	began   = int64(1_700_000_000_000_000_000) // when the first record arrives, unix nanoseconds
)

// world is a queue directory before its damage, and what is known of it. It is written frame by frame as the queue writes it, with
// salts and times that are always the same: a seed stands for the same bytes in every run.
type world struct {
	t        testing.TB
	disk     *faultfs.FS // all of it durable; nobody changes it
	files    image
	segs     []*seg
	payloads map[uint64]string
	mark     uint64                         // every sequence up to it was acknowledged
	last     uint64                         // the last one that was written
	outputs  map[string]checkpoint.Position // the newest of each
	losses   []recovery.Loss                // what the ledger has from before
	history  checkpoint.Ranges              // and what it says is lost
}

// image is the files of a directory, by their names relative to it. The bytes are never changed, only replaced.
type image map[string][]byte

// seg is a segment as it was.
type seg struct {
	segment.Header
	sealed  bool
	bytes   []byte
	dataEnd int64
	frames  []frame
}

func (s *seg) file() string { return filepath.Join(recovery.SegmentDir, s.Name().String()) }

// frame is a frame of a segment: header and payload, and then padding.
type frame struct {
	segment.FrameHeader
	at, end int64 // end of the payload; the padding is behind
}

// builder makes a world.
type builder struct {
	t     testing.TB
	rng   *rand.Rand
	w     *world
	out   *segment.Writer
	size  uint64
	queue segment.ID
	epoch segment.Epoch
	next  uint64
	link  segment.Link
	codec segment.Codec
}

func build(t testing.TB, size uint64, fill func(b *builder)) *world {
	t.Helper()
	b := &builder{
		t: t, rng: rand.New(rand.NewPCG(size, 5)), size: size, queue: segment.ID{1, 2, 3}, next: 1, codec: segment.None,
		w: &world{t: t, disk: faultfs.New(), payloads: map[uint64]string{}, outputs: map[string]checkpoint.Position{}},
	}
	b.must(b.w.disk.MkdirAll(filepath.Join(dataDir, recovery.SegmentDir)))
	b.restart()
	fill(b)
	b.finish()
	return b.w
}

func (b *builder) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// restart begins another life of the process.
func (b *builder) restart() {
	b.t.Helper()
	b.epoch = segment.Epoch{Starts: b.epoch.Starts + 1, Random: 77}
	line := fmt.Sprintf(`{"id":%q,"starts":%d,"format":1`, b.queue, b.epoch.Starts)
	line += fmt.Sprintf(",\"crc\":\"%08x\"}\n", castagnoli([]byte(line)))
	b.must(vfs.WriteFile(b.w.disk, filepath.Join(dataDir, "identity"), []byte(line)))
}

// open begins a segment with the positions of all outputs and sources.
func (b *builder) open() {
	b.t.Helper()
	h := segment.Header{
		Queue: b.queue, Epoch: b.epoch, Salt: 0xfeed0 - 7*uint64(len(b.w.segs)), First: b.next, Previous: b.link, Created: began, Size: b.size,
	}
	var err error
	b.out, err = segment.Create(b.w.disk, filepath.Join(dataDir, recovery.SegmentDir), h)
	b.must(err)
	b.w.segs = append(b.w.segs, &seg{Header: h})
	b.link = segment.Link{Last: b.next - 1, Salt: h.Salt}
	b.positions(true)
	b.sync()
}

// put writes one frame.
func (b *builder) put(h segment.FrameHeader, runs []segment.Run, raw []byte) {
	b.t.Helper()
	s := b.w.segs[len(b.w.segs)-1]
	h.Mark, h.Time = b.w.mark, began+int64(h.First)*1e6
	buf := segment.EncodeFrame(nil, &h, runs, raw, b.codec)
	at := b.out.End()
	h.Put(buf, s.Salt, at)
	b.must(b.out.Write([]segment.FrameHeader{h}, [][]byte{buf}))
	s.frames = append(s.frames, frame{h, at, at + segment.FrameHeaderSize + int64(h.Meta) + int64(h.Stored)})
}

// noise is text that does not compress.
func noise(rng *rand.Rand, n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = byte('!' + rng.IntN(90))
	}
	return string(text)
}

// records writes one frame of two runs with these many records of about this size, from two of three inputs.
func (b *builder) records(n, size int) {
	b.t.Helper()
	var runs []segment.Run
	var raw []byte
	first := b.next
	for i, count := range []int{(n + 1) / 2, n / 2} {
		var body []byte
		for range count {
			text := fmt.Sprintf("record %d %s", b.next, noise(b.rng, b.rng.IntN(2*size)))
			b.w.payloads[b.next] = text
			body = append(append(body, text...), '\n')
			b.next++
		}
		if count > 0 {
			runs = append(runs, segment.Run{
				Form: segment.Lines, Count: uint32(count), Raw: uint32(len(body)), Attributes: []byte("attributes"),
				Key: fmt.Appendf(nil, "in/%d", (int(first)+i)%3), Position: fmt.Appendf(nil, "after %d", b.next-1),
			})
		}
		raw = append(raw, body...)
	}
	b.put(segment.FrameHeader{Type: segment.Data, First: first}, runs, raw)
	b.w.last = b.next - 1
}

// payload writes one frame of one record that holds just these bytes.
func (b *builder) payload(text string) {
	b.t.Helper()
	body := []byte(text + "\n")
	b.w.payloads[b.next] = text
	run := segment.Run{Form: segment.Lines, Count: 1, Raw: uint32(len(body)), Body: body}
	b.put(segment.FrameHeader{Type: segment.Data, First: b.next}, []segment.Run{run}, body)
	b.w.last, b.next = b.next, b.next+1
}

// durable writes frames of these numbers of records, each synced before the next.
func (b *builder) durable(size int, counts ...int) {
	b.t.Helper()
	for _, n := range counts {
		b.records(n, size)
		b.sync()
	}
}

// sync moves the mark past everything written.
func (b *builder) sync() {
	b.t.Helper()
	b.must(b.out.Sync())
	b.w.mark, b.link.Last = b.next-1, b.next-1
}

// lost skips sequences that were lost once, and are in the ledger.
func (b *builder) lost(n uint64) {
	b.t.Helper()
	loss := recovery.Loss{
		Time: time.Unix(0, began).UTC(), First: b.next, Last: b.next + n - 1, Count: n, Cause: "checksum", Acknowledged: recovery.Acknowledged,
		Segment: b.w.segs[len(b.w.segs)-1].Name().String(), Offset: b.out.End(),
	}
	ledger, err := recovery.OpenLedger(b.w.disk, dataDir)
	b.must(err)
	b.must(ledger.Add(loss))
	b.must(ledger.Close())
	b.w.losses, b.w.history = append(b.w.losses, loss), b.w.history.Add(loss.First, loss.Last)
	b.next += n
}

// control writes a frame that has nothing but the mark.
func (b *builder) control(kind segment.Type) {
	b.t.Helper()
	b.put(segment.FrameHeader{Type: kind, First: b.next}, nil, nil)
	b.must(b.out.Sync())
}

// moves is where an output stands from here on; the log does not know yet.
func (b *builder) moves(output string, floor uint64, done ...checkpoint.Range) {
	p := b.w.outputs[output]
	p.Floor, p.Done, p.Epoch, p.Step = floor, done, b.epoch, p.Step+1
	b.w.outputs[output] = p
}

// positions writes all positions of outputs into the log.
func (b *builder) positions(full bool) {
	b.t.Helper()
	p := segment.Positions{Full: full, Parts: 1, Pairs: []segment.Pair{{Key: "in/0", Value: fmt.Appendf(nil, "after %d", b.next-1)}}}
	for _, name := range sorted(b.w.outputs) {
		value, err := b.w.outputs[name].Encode()
		b.must(err)
		p.Pairs = append(p.Pairs, segment.Pair{Key: checkpoint.Key(name), Value: value})
	}
	b.put(segment.FrameHeader{Type: segment.PositionsFrame, First: b.next}, nil, segment.AppendPositions(nil, p))
	b.must(b.out.Sync())
}

// seal ends the segment.
func (b *builder) seal() {
	b.t.Helper()
	b.sync()
	_, err := b.out.Seal(b.w.mark)
	b.must(err)
	b.must(b.out.Close())
	b.out, b.w.segs[len(b.w.segs)-1].sealed = nil, true
}

// kill leaves the segment as a killed process does: unsealed, with some space reserved behind the frames.
func (b *builder) kill(reserved int64) {
	b.t.Helper()
	b.must(b.out.File().Allocate(b.out.End(), reserved))
	b.must(b.out.File().Sync())
	b.must(b.out.Close())
	b.out = nil
}

// finish takes the picture of it all.
func (b *builder) finish() {
	b.t.Helper()
	w := b.w
	recent, err := checkpoint.WithRecent(checkpoint.NewMemory(), w.disk, filepath.Join(dataDir, recentFile))
	b.must(err)
	stored := map[string]checkpoint.Position{}
	for i, name := range sorted(w.outputs) {
		stored[checkpoint.Key(name)] = w.outputs[name]
		if i%2 == 0 {
			b.must(recent.Note(checkpoint.Key(name), w.outputs[name]))
		}
	}
	b.must(recent.Note(checkpoint.EndKey, checkpoint.Position{Floor: w.mark + 1}))
	b.must(recent.Close())
	b.must(vfs.WriteFile(w.disk, filepath.Join(dataDir, recovery.CheckpointFile), boltFile(b.t, stored)))
	w.files = imageOf(b.t, w.disk)
	w.disk = faultfs.New()
	w.files.put(b.t, w.disk, nil)
	for _, s := range w.segs {
		s.bytes = w.files[s.file()]
		last := s.frames[len(s.frames)-1]
		s.dataEnd = last.at + last.Size()
	}
}

const (
	recentFile   = "checkpoints.recent"
	identityFile = "identity"
)

// imageOf is the files of the data directory and of the directories in it.
func imageOf(t testing.TB, fsys vfs.FS) image {
	t.Helper()
	files := image{}
	var visit func(dir string)
	visit = func(dir string) {
		infos, err := fsys.ReadDir(filepath.Join(dataDir, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			name := filepath.Join(dir, info.Name())
			if info.IsDir() {
				visit(name)
				continue
			}
			data, err := vfs.ReadFile(fsys, filepath.Join(dataDir, name), 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = data
		}
	}
	visit("")
	return files
}

// put makes fsys, which holds the files of before, hold these.
func (i image) put(t testing.TB, fsys *faultfs.FS, before image) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dirs := map[string]bool{}
	for _, name := range sorted(before) {
		if _, still := i[name]; !still {
			must(fsys.Remove(filepath.Join(dataDir, name)))
			dirs[filepath.Dir(name)] = true
		}
	}
	for _, name := range sorted(i) {
		was, known := before[name]
		now := i[name]
		if known && len(was) == len(now) && (len(now) == 0 || &was[0] == &now[0]) {
			continue
		}
		path := filepath.Join(dataDir, name)
		if known {
			must(fsys.Remove(path))
		} else if !dirs[filepath.Dir(name)] {
			must(fsys.MkdirAll(filepath.Dir(path)))
		}
		dirs[filepath.Dir(name)] = true
		f, err := fsys.Create(path)
		must(err)
		_, err = f.WriteAt(now, 0)
		must(err)
		must(f.Sync())
		must(f.Close())
	}
	for _, dir := range sorted(dirs) {
		must(fsys.SyncDir(filepath.Join(dataDir, dir)))
	}
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func sorted[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// lines are the records of a run of the form lines.
func lines(body []byte) []string {
	return strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
}
