package damage

import (
	"bytes"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/recovery"
)

// stores is a directory for each of these checkpoint databases.
func stores(change func(w *world, db []byte) [][]byte) func(w *world) []image {
	return func(w *world) []image {
		var all []image
		for _, db := range change(w, bytes.Clone(w.files[recovery.CheckpointFile])) {
			now := image{recovery.CheckpointFile: db}
			for name, data := range w.files {
				if name != recovery.CheckpointFile {
					now[name] = data
				}
			}
			all = append(all, now)
		}
		return all
	}
}

const fromTheLog = "positions come from checkpoints.recent and the log; nothing is lost, the damaged file is in quarantine"

var otherRows = []row{
	{
		number: 37, what: "checkpoints.db missing", status: statusClean,
		do:      func(w *world) []image { return w.after1(harm{kind: deleting, file: recovery.CheckpointFile}) },
		outcome: "made again; positions come from checkpoints.recent and the log, nothing is lost",
	},
	{
		number: 38, what: "checkpoints.db empty, or cut in a page", status: statusDamaged, cause: "",
		do:      stores(func(_ *world, db []byte) [][]byte { return [][]byte{{}, db[:4095], db[:4096*3+100]} }),
		outcome: "found before it is opened; " + fromTheLog,
	},
	{
		number: 39, what: "checkpoints.db with both metas bad, or noise in its pages", status: statusDamaged,
		do: stores(func(_ *world, db []byte) [][]byte {
			metas := bytes.Clone(db)
			clear(metas[:8192])
			noisy := bytes.Clone(db)
			fill(noisy[:5*4096], 7)
			return [][]byte{metas, noisy}
		}),
		outcome: "found before it is opened; " + fromTheLog,
	},
	{
		number: 40, what: "checkpoints.db from an older backup", status: statusClean,
		do: func(w *world) []image {
			old := map[string]checkpoint.Position{}
			for name := range w.outputs {
				old[checkpoint.Key(name)] = checkpoint.Position{Floor: 1, Step: 1}
			}
			return []image{w.files.with(recovery.CheckpointFile, w.older(old))}
		},
		outcome: "the newest position counts, wherever it stands: nothing is lost",
	},
	{
		number: 41, what: "an output that stands beyond the end of the log", on: beyondWorld, status: statusDamaged, cause: "zeroed",
		do:      func(w *world) []image { return []image{w.files} },
		outcome: "its position proves that records were there: they are in the ledger, and new ones get higher numbers, so that it misses none",
	},
	{
		number: 42, what: "an output's hint that points to no frame", on: hintWorld, status: statusClean,
		do:      func(w *world) []image { return []image{w.files} },
		outcome: "the sequence decides: nothing is lost or repeated",
	},
	{
		number: 43, what: "an output that stands in a segment that is deleted", status: statusDamaged, cause: "missing segment",
		lost:    func(w *world, _ int) string { return span(1, 27) },
		do:      func(w *world) []image { return w.after1(harm{kind: deleting, file: w.segs[0].file()}) },
		outcome: "it goes on with the oldest record there is; what it misses is in the ledger under its name",
	},
	{
		number: 44, what: "the stored position of one output damaged", status: statusDamaged,
		do: stores(func(w *world, db []byte) [][]byte {
			at := bytes.Index(db, []byte("out/b"))
			db[at+len("out/b")+9] ^= 1
			return [][]byte{db}
		}),
		outcome: "the others are taken as they are; its own comes from the log",
	},
	{
		number: 45, what: "identity missing, zeroed, altered", status: statusClean,
		do: func(w *world) []image {
			return w.each([]harm{
				{kind: deleting, file: identityFile}, {kind: zeroing, file: identityFile, size: 512}, {kind: flipping, file: identityFile, at: 9},
				{kind: cutting, file: identityFile, at: 20},
			})
		},
		outcome: "made again from the headers of the segments",
	},
	{
		number: 63, what: "sequences near 2^63, a frame damaged", on: endOfNumbersWorld, status: statusDamaged, cause: "checksum",
		lost: func(w *world, _ int) string { return w.frameOf(w.last - 4) },
		do: func(w *world) []image {
			s, f := w.of(w.last - 4)
			return w.after1(harm{kind: flipping, file: s.file(), at: f.end - 2})
		},
		outcome: "as anywhere else: " + oneFrame,
	},
	{
		number: 68, what: "frames of a type that is not known", on: unknownWorld, status: statusClean,
		do:      func(w *world) []image { return []image{w.files} },
		outcome: "passed over; nothing is lost",
	},
}

// with is a copy with another file.
func (i image) with(name string, data []byte) image {
	now := image{name: data}
	for other, was := range i {
		if other != name {
			now[other] = was
		}
	}
	return now
}

// older is a database with other positions, made where there is no test to ask.
func (w *world) older(positions map[string]checkpoint.Position) []byte {
	return boltFile(w.t, positions)
}

func beyondWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		b.open()
		b.durable(50, 3, 4, 2)
		b.control(segment.Marker)
		b.moves("b", b.next+40)
		b.kill(1024)
	})
}

func hintWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		b.open()
		b.durable(50, 3, 4, 2)
		for i, name := range []string{"b", "c"} {
			b.moves(name, 5)
			p := b.w.outputs[name]
			p.Segment, p.Offset = b.w.segs[0].Name(), 4099+int64(i)*1e6
			b.w.outputs[name] = p
		}
		b.control(segment.Marker)
		b.seal()
		b.open()
		b.durable(50, 3)
		b.control(segment.Marker)
		b.kill(1024)
	})
}

func endOfNumbersWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.next = segment.MaxSequence - 60
		b.moves("a", b.next)
		b.moves("b", b.next+4)
		b.open()
		b.durable(50, 3, 4, 2)
		b.seal()
		b.open()
		b.durable(50, 3, 7, 2)
		b.control(segment.Marker)
		b.kill(0)
	})
}

func unknownWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		for range 2 {
			b.open()
			b.durable(50, 3)
			b.put(segment.FrameHeader{Type: 77, First: b.next}, nil, []byte("from a later version"))
			b.durable(50, 4)
			b.put(segment.FrameHeader{Type: 78}, nil, nil)
			b.durable(50, 1)
			if len(b.w.segs) == 1 {
				b.seal()
			}
		}
		b.control(segment.Marker)
		b.kill(0)
	})
}
