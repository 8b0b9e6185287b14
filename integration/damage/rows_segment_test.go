package damage

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"logmule/queue/segment"
	"logmule/recovery"
)

// bulkWorld has two sealed segments of 2 MiB with stripes of 2 KiB and an open one: what the parity promises for bursts in 64 MiB, in
// small.
func bulkWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 2<<20, func(b *builder) {
		b.moves("a", 1)
		for range 2 {
			b.open()
			for b.out.Room() > 50000 {
				b.durable(20000, 1)
			}
			b.seal()
		}
		b.size = 64 << 10
		b.open()
		b.durable(100, 3, 4)
		b.control(segment.Marker)
		b.kill(0)
	})
}

// zeros clears this many bytes in the middle of a sealed segment, from a block's beginning on.
func zeros(size int64) func(w *world) []image {
	return func(w *world) []image {
		var list []harm
		for _, s := range w.segs[:2] {
			list = append(list, harm{kind: zeroing, file: s.file(), at: s.dataEnd / 2 &^ 4095, size: size})
		}
		return w.each(list)
	}
}

// sealedEnd is the harm of clearing from some part of what is behind the frames of each of the two sealed segments on.
func sealedEnd(from func(s *seg) (at, size int64)) func(w *world) []image {
	return func(w *world) []image {
		var list []harm
		for _, s := range w.segs[:1] {
			at, size := from(s)
			list = append(list, harm{kind: zeroing, file: s.file(), at: at, size: size})
		}
		return w.each(list)
	}
}

// segmentLost is the outcome that all records of a segment are gone.
func segmentLost(i int) func(*world, int) string {
	return func(w *world, _ int) string {
		last := w.last
		if i+1 < len(w.segs) {
			last = w.segs[i+1].First - 1
		}
		return span(w.segs[i].First, last)
	}
}

const wholeSegment = "all its records are lost, in the ledger once, by exact numbers; all others come"

var segmentRows = []row{
	{number: 13, what: "4 KiB zeroed in a sealed segment", on: bulkWorld, do: zeros(4096), status: statusDamaged, cause: "checksum", healed: true, outcome: healing},
	{
		number: 14, what: "1/64 of a sealed segment zeroed (1 MiB of 64)", on: bulkWorld, do: zeros(32 << 10), status: statusDamaged, cause: "checksum",
		healed: true, outcome: healing,
	},
	{
		number: 15, what: "3/64 of a sealed segment zeroed (3 MiB of 64)", on: bulkWorld, do: zeros(96 << 10), status: statusDamaged, cause: "checksum",
		healed: true, partly: true, outcome: "stripes whose group has one bad member are healed; what stands in the others is lost: " + oneFrame,
	},
	{
		number: 16, what: "two damages in the same parity group", on: bulkWorld, status: statusDamaged, partly: true,
		do: func(w *world) []image {
			s := w.segs[0]
			at := s.dataEnd / 2 &^ 2047
			return w.after1(harm{kind: flipping, file: s.file(), at: at + 7}, harm{kind: flipping, file: s.file(), at: at + 32*2048 + 9})
		},
		outcome: "exactly these stripes stay bad: " + oneFrame,
	},
	{number: 17, what: "zeros behind the last frame, as reserved", do: func(w *world) []image { return []image{w.files} }, status: statusClean, outcome: "the silent end of the log"},
	{
		number: 21, what: "a lost write: a block of a sealed segment as it was before", on: bulkWorld, status: statusDamaged, cause: "checksum", healed: true,
		do: func(w *world) []image {
			s := w.segs[0]
			return w.after1(harm{kind: moving, file: w.segs[1].file(), from: 64 << 10, size: 4096, at: 64 << 10, to: s.file()})
		},
		outcome: healing,
	},
	{
		number: 21, what: "a lost write: a block of an unsealed segment as it was before", status: statusDamaged, cause: "checksum", partly: true,
		do: func(w *world) []image {
			s, f := w.of(inOpen)
			return w.after1(harm{kind: zeroing, file: s.file(), at: f.at, size: 512})
		},
		outcome: oneFrame,
	},
	{
		number: 23, what: "header block of a sealed segment zeroed", status: statusDamaged, cause: "header", healed: true,
		do:      func(w *world) []image { return w.after1(harm{kind: zeroing, file: w.segs[0].file(), size: 4096}) },
		outcome: "made again from the trailer's copy, nothing is lost",
	},
	{
		number: 23, what: "header block of an unsealed segment zeroed", status: statusDamaged, cause: "header",
		do:      func(w *world) []image { return w.after1(harm{kind: zeroing, file: w.segs[2].file(), size: 4096}) },
		outcome: "the name tells the salt: all frames are read, nothing is lost",
	},
	{
		number: 24, what: "header block and file name both wrong", status: statusDamaged, healed: true,
		do: func(w *world) []image {
			s := w.segs[0]
			return w.after1(harm{kind: zeroing, file: s.file(), size: 4096},
				harm{kind: renaming, file: s.file(), to: filepath.Join(recovery.SegmentDir, segment.Name{First: 9000, Salt: 5}.String())})
		},
		outcome: "the trailer's copy tells which segment it is, nothing is lost",
	},
	{
		number: 25, what: "trailer zeroed", status: statusDamaged, cause: "trailer",
		do:      sealedEnd(func(s *seg) (int64, int64) { return int64(len(s.bytes)) - segment.TrailerSize, segment.TrailerSize }),
		outcome: "made again, nothing is lost",
	},
	{
		number: 25, what: "one index zeroed", status: statusDamaged, cause: "index",
		do:      sealedEnd(func(s *seg) (int64, int64) { return s.dataEnd, 64 }),
		outcome: "made again from the other one, nothing is lost",
	},
	{
		number: 25, what: "all that stands behind the frames zeroed", status: statusDamaged, cause: "trailer",
		do:      sealedEnd(func(s *seg) (int64, int64) { return s.dataEnd, int64(len(s.bytes)) }),
		outcome: "made again from the frames by fsck --repair, nothing is lost",
	},
	{
		number: 26, what: "a trailer with a wrong hash and a right checksum", status: statusDamaged, cause: "trailer",
		do: func(w *world) []image {
			s := w.segs[0]
			at := int64(len(s.bytes)) - segment.TrailerSize
			b := append([]byte(nil), s.bytes[at:]...)
			b[96] ^= 1
			binary.LittleEndian.PutUint32(b[4092:], castagnoli(b[:4092]))
			return []image{w.files.edited(s.file(), at, b)}
		},
		outcome: "both indexes are sound and alike, so it is the trailer that is made again, nothing is lost",
	},
	{
		number: 27, what: "a segment in the middle deleted", status: statusDamaged, cause: "missing segment", lost: segmentLost(1),
		do: func(w *world) []image { return w.after1(harm{kind: deleting, file: w.segs[1].file()}) }, outcome: wholeSegment,
	},
	{
		number: 28, what: "the oldest segment deleted", status: statusDamaged, cause: "missing segment", lost: segmentLost(0),
		do:      func(w *world) []image { return w.after1(harm{kind: deleting, file: w.segs[0].file()}) },
		outcome: "what outputs had not done of it is lost, in the ledger for each of them; all others come",
	},
	{
		number: 29, what: "the open segment deleted", status: statusDamaged, cause: "missing segment", lost: segmentLost(2),
		do:      func(w *world) []image { return w.after1(harm{kind: deleting, file: w.segs[2].file()}) },
		outcome: wholeSegment + ", since the mark stands in checkpoints.recent; no sequence is given again",
	},
	{
		number: 33, what: "two segments under each other's names", status: statusDamaged,
		do: func(w *world) []image {
			return w.after1(harm{kind: swapping, file: w.segs[0].file(), to: w.segs[1].file()})
		},
		outcome: "a segment is what its header says: nothing is lost",
	},
	{
		number: 35, what: "a sealed segment cut to 0, 1 and 4095 bytes", status: statusDamaged, lost: segmentLost(1),
		do: func(w *world) []image {
			var list []harm
			for _, size := range []int64{0, 1, 4095} {
				list = append(list, harm{kind: cutting, file: w.segs[1].file(), at: size})
			}
			return w.each(list)
		},
		outcome: wholeSegment,
	},
	{
		number: 36, what: "a sealed segment extended by noise", status: statusDamaged,
		do: func(w *world) []image {
			return w.after1(harm{kind: extending, file: w.segs[0].file(), size: 5000, seed: 1})
		},
		outcome: "cut off by fsck --repair or the scrubber, a copy is kept, nothing is lost",
	},
	{
		number: 36, what: "an unsealed segment extended by noise", status: statusClean,
		do: func(w *world) []image {
			return w.after1(harm{kind: extending, file: w.segs[2].file(), size: 5000, seed: 1})
		},
		outcome: "a torn tail: a copy is kept, nothing is lost",
	},
	{
		number: 72, what: "the last frame damaged, and no marker behind it", status: statusDamaged, cause: "checksum", on: lastWorld, lost: frameLost(9),
		do: func(w *world) []image {
			s, f := w.of(9)
			return w.after1(harm{kind: flipping, file: s.file(), at: f.end - 2})
		},
		outcome: "the mark stands in checkpoints.recent too: " + oneFrame,
	},
	{
		number: 72, what: "the last frame damaged, no marker behind it, and checkpoints.recent lost", status: statusClean, on: lastWorld, lost: frameLost(9),
		do: func(w *world) []image {
			s, f := w.of(9)
			return w.after1(harm{kind: flipping, file: s.file(), at: f.end - 2}, harm{kind: deleting, file: recentFile})
		},
		outcome: "nothing tells of an acknowledgement: a torn tail, the bytes are in quarantine; the marker, 100 ms later, makes it a loss (row 8)",
	},
}

// lastWorld is an open segment that ends with a frame, of which nobody but its source has heard.
func lastWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		b.open()
		b.durable(50, 3, 4, 2)
		b.kill(1024)
	})
}
