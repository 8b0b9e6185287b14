package damage

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"logmule/queue/segment"
	"logmule/recovery"
)

// harm is one damage. What it says is all there is to it: the same harm does the same to the same files. One whose file is not
// there, because another harm was left out, does nothing.
type harm struct {
	kind string
	file string // relative to the data directory
	at   int64
	size int64
	to   string // another file
	from int64  // in the file
	seed uint64 // of noise
}

func (h harm) String() string {
	s := fmt.Sprintf("%s %s", h.kind, h.file)
	switch h.kind {
	case flipping:
		return fmt.Sprintf("%s bit %d of byte %d", s, h.size, h.at)
	case cutting:
		return fmt.Sprintf("%s to %d bytes", s, h.at)
	case deleting:
		return s
	case doubling, swapping, renaming:
		return s + " " + h.to
	case moving:
		return fmt.Sprintf("%s [%d, %d) to %d of %s", s, h.from, h.from+h.size, h.at, h.to)
	case noising, extending:
		s += fmt.Sprintf(" (noise %d)", h.seed)
	}
	return fmt.Sprintf("%s [%d, %d)", s, h.at, h.at+h.size)
}

// Kinds of harm.
const (
	flipping  = "flip"
	zeroing   = "zero"
	noising   = "noise in"
	cutting   = "cut"
	extending = "extend"
	deleting  = "delete"
	doubling  = "copy to another name"
	swapping  = "swap the names of"
	renaming  = "rename"
	moving    = "move bytes of" // as a write that went to the wrong place
)

// to applies the harm.
func (h harm) apply(i image) image {
	was, there := i[h.file]
	if !there {
		return i
	}
	now := maps.Clone(i)
	size := int64(len(was))
	at, end := min(h.at, size), min(h.at+h.size, size)
	switch h.kind {
	case flipping:
		if h.at < size {
			data := bytes.Clone(was)
			data[h.at] ^= 1 << h.size
			now[h.file] = data
		}
	case zeroing:
		data := bytes.Clone(was)
		clear(data[at:end])
		now[h.file] = data
	case noising:
		data := bytes.Clone(was)
		fill(data[at:end], h.seed)
		now[h.file] = data
	case cutting:
		now[h.file] = was[:at:at]
	case extending:
		data := append(bytes.Clone(was), make([]byte, h.size)...)
		fill(data[size:], h.seed)
		now[h.file] = data
	case deleting:
		delete(now, h.file)
	case doubling:
		now[h.to] = was
	case renaming:
		delete(now, h.file)
		now[h.to] = was
	case swapping:
		if other, there := i[h.to]; there {
			now[h.file], now[h.to] = other, was
		}
	case moving:
		into, there := i[h.to]
		n := min(h.size, size-min(h.from, size))
		if there && n > 0 && h.at+n <= int64(len(into)) {
			data := bytes.Clone(into)
			copy(data[h.at:], was[h.from:h.from+n])
			now[h.to] = data
		}
	default:
		panic("no such harm: " + h.kind)
	}
	return now
}

func fill(b []byte, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 23))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

// harms are a few, as the seed says.
func (w *world) harms(seed uint64) []harm {
	rng := rand.New(rand.NewPCG(seed, 29))
	var list []harm
	now := w.files
	for range 1 + rng.IntN(8) {
		h := w.harm(rng, now)
		list = append(list, h)
		now = h.apply(now)
	}
	return list
}

// harm is one of any kind to one of the files.
func (w *world) harm(rng *rand.Rand, now image) harm {
	var segments, others []string
	for _, name := range sorted(now) {
		if strings.HasPrefix(name, recovery.SegmentDir+"/") {
			segments = append(segments, name)
		} else {
			others = append(others, name)
		}
	}
	if len(segments) == 0 || len(others) > 0 && rng.IntN(5) == 0 {
		if len(others) == 0 {
			return harm{kind: deleting, file: identityFile}
		}
		return toOther(rng, others[rng.IntN(len(others))], now)
	}
	file := segments[rng.IntN(len(segments))]
	size := int64(len(now[file]))
	at := rng.Int64N(size + 1)
	switch n := rng.IntN(24); {
	case n < 6:
		return harm{kind: flipping, file: file, at: at, size: rng.Int64N(8)}
	case n < 11:
		return harm{kind: zeroing, file: file, at: at &^ 511, size: int64(512) << rng.IntN(12)}
	case n < 13:
		return harm{kind: noising, file: file, at: at, size: 1 + rng.Int64N(8192), seed: rng.Uint64()}
	case n < 15:
		return harm{kind: cutting, file: file, at: []int64{at, 0, 1, 4095, size - min(size, 1+rng.Int64N(5000))}[rng.IntN(5)]}
	case n < 16:
		return harm{kind: extending, file: file, size: 1 + rng.Int64N(20000), seed: rng.Uint64()}
	case n < 17:
		return harm{kind: deleting, file: file}
	case n < 18:
		name := segment.Name{First: 1 + rng.Uint64N(w.last+50), Salt: 0xc0de + rng.Uint64N(1000)}
		return harm{kind: doubling, file: file, to: filepath.Join(recovery.SegmentDir, name.String())}
	case n < 19:
		return harm{kind: swapping, file: file, to: segments[rng.IntN(len(segments))]}
	case n < 22:
		return w.misdirected(rng, file, segments)
	}
	return w.stale(rng, file, at)
}

// misdirected is a frame, or a block, that was written to another place too.
func (w *world) misdirected(rng *rand.Rand, file string, segments []string) harm {
	h := harm{kind: moving, file: file, to: segments[rng.IntN(len(segments))]}
	for _, s := range w.segs {
		if s.file() == file && rng.IntN(3) > 0 {
			f, g := s.frames[rng.IntN(len(s.frames))], s.frames[rng.IntN(len(s.frames))]
			h.from, h.size, h.at = f.at, f.Size(), g.at
			return h
		}
	}
	h.from, h.size, h.at = rng.Int64N(16)<<12, 4096, rng.Int64N(16)<<12
	return h
}

// stale is a block as it was before it was written last: what a lost write leaves.
func (w *world) stale(rng *rand.Rand, file string, at int64) harm {
	block := at &^ 4095
	for _, s := range w.segs {
		if s.file() != file {
			continue
		}
		for _, f := range s.frames { // the block ended somewhere in it once, and the rest was zeros
			if f.at > block && f.at < block+4096 && rng.IntN(2) == 0 {
				return harm{kind: zeroing, file: file, at: f.at, size: block + 4096 - f.at}
			}
		}
	}
	return harm{kind: zeroing, file: file, at: block, size: 4096}
}

// toOther is damage to one of the other files.
func toOther(rng *rand.Rand, file string, now image) harm {
	size := int64(len(now[file]))
	at := rng.Int64N(size + 1)
	switch rng.IntN(6) {
	case 0:
		return harm{kind: flipping, file: file, at: at, size: rng.Int64N(8)}
	case 1:
		return harm{kind: zeroing, file: file, at: at &^ 511, size: int64(512) << rng.IntN(8)}
	case 2:
		return harm{kind: cutting, file: file, at: at}
	case 3:
		return harm{kind: deleting, file: file}
	case 4:
		return harm{kind: extending, file: file, size: 1 + rng.Int64N(3000), seed: rng.Uint64()}
	}
	return harm{kind: noising, file: file, at: at, size: 1 + rng.Int64N(8192), seed: rng.Uint64()}
}
