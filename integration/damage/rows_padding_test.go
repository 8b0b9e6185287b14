package damage

import (
	"testing"

	"logmule/queue/segment"
)

// paddedWorld has two sealed segments with records 1, 2 and 3, 4, and an open one with 5 to 7. Each stands in a frame of its own,
// with seven bytes of padding, and nothing follows the last one.
func paddedWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		for i := range 3 {
			b.open()
			b.padded(200)
			b.padded(300)
			if i < 2 {
				b.seal()
			}
		}
		b.padded(100)
		b.kill(0)
	})
}

// padded writes one frame of one record of about this size, durable, with as much padding as there can be.
func (b *builder) padded(size int) {
	b.t.Helper()
	s := b.w.segs[len(b.w.segs)-1]
	for text := noise(b.rng, size); ; text += "." {
		body := []byte(text + "\n")
		run := segment.Run{Form: segment.Lines, Count: 1, Raw: uint32(len(body)), Body: body}
		h := segment.FrameHeader{Type: segment.Data, First: b.next}
		segment.EncodeFrame(nil, &h, []segment.Run{run}, body, b.codec)
		if (segment.FrameHeaderSize+h.Meta+h.Stored)%8 != 1 {
			continue
		}
		b.payload(text)
		b.sync()
		if f := s.frames[len(s.frames)-1]; f.at+f.Size()-f.end != 7 {
			b.t.Fatalf("the frame of record %d ends at %d, %d bytes behind its payload", f.First, f.at+f.Size(), f.at+f.Size()-f.end)
		}
		return
	}
}

// inPadding cuts a file before each byte of the padding of a record's frame, and behind the last.
func inPadding(sequence uint64) func(w *world) []image {
	return func(w *world) []image {
		s, f := w.of(sequence)
		var list []harm
		for at := f.end; at <= f.at+f.Size(); at++ {
			list = append(list, harm{kind: cutting, file: s.file(), at: at})
		}
		return w.each(list)
	}
}

const padding = "padding says nothing and is made whole again: "

var paddingRows = []row{
	{
		number: 3, what: "an unsealed segment cut at each byte of the padding of its last frame", on: paddedWorld, do: inPadding(7), status: statusClean,
		outcome: padding + "nothing is lost",
	},
	{
		number: 3, what: "an unsealed segment cut at each byte of the padding of another frame", on: paddedWorld, do: inPadding(6), status: statusDamaged,
		cause: "truncated", lost: frameLost(7), outcome: padding + "the records behind that frame are lost, in the ledger once; all others come",
	},
	{
		number: 35, what: "a sealed segment cut at each byte of the padding of its last frame", on: paddedWorld, do: inPadding(2), status: statusDamaged,
		cause: "trailer", outcome: padding + "nothing is lost, and fsck --repair makes the trailer again",
	},
	{
		number: 35, what: "a sealed segment cut at each byte of the padding of another frame", on: paddedWorld, do: inPadding(1), status: statusDamaged,
		cause: "truncated", lost: frameLost(2), outcome: padding + "the records behind that frame are lost, in the ledger once; all others come",
	},
	{
		number: 35, what: "the newest sealed segment cut at each byte of the padding of its last frame", on: paddedWorld, do: inPadding(4), status: statusClean,
		outcome: "as a crash within its seal leaves it: nothing is lost",
	},
	{
		number: 35, what: "a segment with frames of every size cut in the padding of three of them", on: wideWorld, status: statusDamaged, partly: true,
		do: func(w *world) []image {
			var all []image
			for _, s := range []uint64{87, 99, 135} { // three cuts that chance once found
				_, f := w.of(s)
				all = append(all, inPadding(s)(w)[:f.at+f.Size()-f.end]...)
			}
			return all
		},
		outcome: padding + "the records behind that frame are lost, in the ledger once; all others come",
	},
	{
		number: 7, what: "noise in the padding of a frame, sealed", on: paddedWorld, do: noiseInPadding(2), status: statusDamaged, cause: "checksum",
		healed: true, outcome: healing,
	},
	{
		number: 8, what: "noise in the padding of a frame, unsealed", on: paddedWorld, do: noiseInPadding(6), status: statusClean,
		outcome: "nothing covers it and nobody reads it",
	},
}

// noiseInPadding fills the padding of a record's frame.
func noiseInPadding(sequence uint64) func(w *world) []image {
	return func(w *world) []image {
		s, f := w.of(sequence)
		return w.after1(harm{kind: noising, file: s.file(), at: f.end, size: f.at + f.Size() - f.end, seed: sequence})
	}
}
