package damage

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"logmule/queue/segment"
)

// Records of smallWorld: 1 to 27 stand in the first segment, which is sealed, 28 to 48 in the second, from 49 on in the open one.
const (
	inFirst  = 12
	inSecond = 35
	inOpen   = 52
	atEnd    = 61
)

// frameFields are the fields of a frame's header, by their offsets.
var frameFields = map[string]int64{
	"magic": 0, "type": 4, "codec": 5, "reserved": 6, "first": 8, "count": 16, "stored": 20, "raw": 24, "meta": 28, "time": 32, "mark": 40,
	"sum": 48, "checksum": 52,
}

// flips is a flipped bit in each field of the header of the frame that holds a record.
func flips(sequence uint64) func(w *world) []image {
	return func(w *world) []image {
		s, f := w.of(sequence)
		var list []harm
		for _, name := range sorted(frameFields) {
			list = append(list, harm{kind: flipping, file: s.file(), at: f.at + frameFields[name], size: 3})
		}
		return w.each(list)
	}
}

// frameLost is the outcome that the frame of a record is gone.
func frameLost(sequence uint64) func(*world, int) string {
	return func(w *world, _ int) string { return w.frameOf(sequence) }
}

const (
	oneFrame = "the records of that frame are lost, in the ledger once, the bytes in quarantine; all others come"
	healing  = "healed to the last bit, nothing is lost"
)

// framed is a frame with another header, whose checksum is right.
func framed(w *world, sequence uint64, change func(h *segment.FrameHeader, payload []byte)) []image {
	s, f := w.of(sequence)
	b := bytes.Clone(s.bytes[f.at:f.end])
	h := f.FrameHeader
	change(&h, b[segment.FrameHeaderSize:])
	h.Sum = castagnoli(b[segment.FrameHeaderSize:])
	h.Put(b, s.Salt, f.at)
	return []image{w.files.edited(s.file(), f.at, b)}
}

// rows that concern frames.
var frameRows = []row{
	{
		number: 3, what: "last frame cut at every byte", status: statusDamaged, cause: "", on: unmarkedWorld, lost: frameLost(9),
		do: func(w *world) []image {
			s, f := w.of(9)
			var list []harm
			for at := f.at; at < f.end; at += 5 {
				list = append(list, harm{kind: cutting, file: s.file(), at: at})
			}
			return w.each(list)
		},
		outcome: "an output had it, and the mark stands in checkpoints.recent: " + oneFrame,
	},
	{
		number: 3, what: "last frame, not synced yet, cut at every byte", status: statusClean, on: tornWorld, lost: frameLost(12),
		do: func(w *world) []image {
			s, f := w.of(12)
			var list []harm
			for at := f.at; at < f.end; at += 5 {
				list = append(list, harm{kind: cutting, file: s.file(), at: at})
			}
			return w.each(list)
		},
		outcome: "a torn tail: nobody had been told of the record; clean",
	},
	{
		number: 4, what: "torn frame, sectors of it zero", status: statusClean, on: tornWorld, lost: frameLost(12),
		do: func(w *world) []image {
			s, f := w.of(12)
			var all []image
			for set := 1; set < 8; set++ {
				var list []harm
				for i, at := 0, f.at&^511; at < f.end && i < 3; i, at = i+1, at+512 {
					if from, to := max(at, f.at), min(at+512, f.end); set>>i&1 == 1 {
						list = append(list, harm{kind: zeroing, file: s.file(), at: from, size: to - from})
					}
				}
				if now := w.after(list...); !bytes.Equal(now[s.file()], s.bytes) {
					all = append(all, now)
				}
			}
			return all
		},
		outcome: "a torn tail: dropped, quarantined, clean",
	},
	{
		number: 5, what: "torn group: a hole, then a good frame, neither synced", status: statusClean, on: tornWorld, lost: frameLost(10),
		do: func(w *world) []image {
			s, f := w.of(10)
			return w.after1(harm{kind: zeroing, file: s.file(), at: f.at, size: f.end - f.at})
		},
		outcome: "the good frame is kept; the hole stands in the ledger as never acknowledged; clean",
	},
	{
		number: 6, what: "a bit in each field of a frame's header, unsealed", status: statusDamaged, cause: "checksum", lost: frameLost(inOpen),
		do: flips(inOpen), outcome: oneFrame,
	},
	{
		number: 6, what: "a bit in each field of a frame's header, sealed", status: statusDamaged, cause: "checksum", healed: true,
		do: flips(inFirst), outcome: healing,
	},
	{
		number: 7, what: "a bit in a payload, sealed", status: statusDamaged, cause: "checksum", healed: true,
		do: func(w *world) []image {
			s, f := w.of(inSecond)
			return w.after1(harm{kind: flipping, file: s.file(), at: f.end - 3})
		},
		outcome: healing,
	},
	{
		number: 8, what: "a bit in a payload, unsealed", status: statusDamaged, cause: "checksum", lost: frameLost(inOpen),
		do: func(w *world) []image {
			s, f := w.of(inOpen)
			return w.after1(harm{kind: flipping, file: s.file(), at: f.end - 3})
		},
		outcome: oneFrame,
	},
	{
		number: 9, what: "a stored length that points past the end, with a right checksum", status: statusDamaged, cause: "checksum", lost: frameLost(inOpen),
		do: func(w *world) []image {
			return framed(w, inOpen, func(h *segment.FrameHeader, _ []byte) { h.Stored, h.Raw = 1<<20, 1<<20 })
		},
		outcome: oneFrame,
	},
	{
		number: 10, what: "a stored length that ends inside the next frame", status: statusDamaged, cause: "checksum", lost: frameLost(inOpen),
		do: func(w *world) []image {
			return framed(w, inOpen, func(h *segment.FrameHeader, _ []byte) { h.Stored, h.Raw = h.Stored+100, h.Raw+100 })
		},
		outcome: "the next frame is found; " + oneFrame,
	},
	{
		number: 11, what: "a raw length of 4 GiB, with a right checksum", status: statusDamaged, cause: "checksum", lost: frameLost(inOpen),
		do: func(w *world) []image {
			return framed(w, inOpen, func(h *segment.FrameHeader, _ []byte) { h.Codec, h.Raw = segment.Snappy, math.MaxUint32 })
		},
		outcome: "refused before anything is allocated; " + oneFrame,
	},
	{
		number: 12, what: "a body that is no snappy, with right checksums", status: statusDamaged, cause: "unreadable", lost: frameLost(inOpen),
		do: func(w *world) []image {
			return framed(w, inOpen, func(h *segment.FrameHeader, payload []byte) {
				h.Codec = segment.Snappy
				binary.LittleEndian.PutUint32(payload[h.Meta:], 0xffffffff)
			})
		},
		open:    "fsck counts the records of a frame that it says cannot be decoded",
		outcome: "fsck --deep says so; " + oneFrame,
	},
	{
		number: 19, what: "a frame of another segment at the same offset", on: alikeWorld, status: statusDamaged, cause: "checksum", lost: frameLost(8),
		do: func(w *world) []image {
			s, f := w.of(8)
			other, g := w.of(3)
			if f.at != g.at || f.end != g.end {
				w.t.Fatalf("the frames stand at %d and %d", f.at, g.at)
			}
			return w.after1(harm{kind: moving, file: other.file(), from: g.at, size: g.end - g.at, at: f.at, to: s.file()})
		},
		outcome: "no frame here: the salt is another one; " + oneFrame,
	},
	{
		number: 20, what: "a frame written to another offset too", status: statusDamaged, cause: "checksum", lost: frameLost(inOpen),
		do: func(w *world) []image {
			s, f := w.of(inOpen)
			_, g := w.of(49)
			return w.after1(harm{kind: moving, file: s.file(), from: g.at, size: min(g.end-g.at, f.end-f.at), at: f.at, to: s.file()})
		},
		outcome: "no frame there: the offset is part of its checksum; " + oneFrame,
	},
	{
		number: 22, what: "a record that holds a whole segment, damage before it", status: statusDamaged, cause: "checksum", on: embeddedWorld,
		lost: func(*world, int) string { return "2-3" },
		do: func(w *world) []image {
			s, f := w.of(2)
			t, g := w.of(3)
			return w.after1(
				harm{kind: flipping, file: s.file(), at: f.end - 9},
				harm{kind: flipping, file: t.file(), at: g.at + 9})
		},
		outcome: "nothing of the embedded segment is delivered; " + oneFrame,
	},
}

// unmarkedWorld has an open segment whose last frame no marker follows, but an output had done it.
func unmarkedWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		b.open()
		b.durable(50, 3, 4)
		b.durable(50, 3)
		b.moves("b", b.next)
		b.kill(0)
	})
}

// alikeWorld has two segments with frames at the same offsets.
func alikeWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		for i := range 2 {
			b.open()
			for range 5 {
				b.payload(noise(b.rng, 300))
				b.sync()
			}
			b.control(segment.Marker)
			if i == 0 {
				b.seal()
			}
		}
		b.kill(1024)
	})
}

// tornWorld has an open segment with records 1 to 9, and 10 to 12 in frames that had not been synced.
func tornWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		b.moves("b", 5)
		b.open()
		b.durable(50, 3, 4, 2)
		b.control(segment.Marker)
		b.payload(noise(b.rng, 900))
		b.payload(noise(b.rng, 300))
		b.payload(noise(b.rng, 700))
		b.kill(4096)
	})
}

// embeddedWorld has a record that holds a whole segment: its bytes are those of a file that begins with the same header.
func embeddedWorld(t testing.TB) *world {
	t.Helper()
	inner := smallWorld(t)
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		b.open()
		b.payload("the first one")
		b.payload("a record before it")
		b.payload(string(bytes.ReplaceAll(inner.files[inner.segs[0].file()], []byte("\n"), []byte("."))))
		b.payload(string(bytes.ReplaceAll(inner.files[inner.segs[1].file()], []byte("\n"), []byte("."))))
		b.payload("the last one")
		b.sync()
		b.control(segment.Marker)
		b.kill(0)
	})
}

var rows = slices.Concat(frameRows, paddingRows, segmentRows, otherRows)
