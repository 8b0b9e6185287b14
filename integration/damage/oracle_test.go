package damage

import (
	"bytes"
	"slices"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/recovery"
)

// oracle is what must come of a damage, worked out from the files before and after it and docs/format.md alone.
type oracle struct {
	must  map[uint64]bool // records whose bytes are there, or can be had from the parity
	known uint64          // the highest sequence that anything undamaged tells of; the name of a file alone tells nothing
	first uint64          // the oldest one that a segment may still hold

	positions map[string]checkpoint.Position // of outputs, the newest that is undamaged
	located   map[string]string              // the file that a segment is in, by the segment's own file
}

// foretell works it out.
func (w *world) foretell(now image) *oracle {
	o := &oracle{must: map[uint64]bool{}, positions: map[string]checkpoint.Position{}, located: map[string]string{}}
	for _, name := range sorted(now) {
		if s := w.identify(name, now[name]); s != nil && (o.located[s.file()] == "" || name == s.file()) {
			o.located[s.file()] = name
		}
	}
	for _, s := range w.segs {
		if file := o.located[s.file()]; file != "" {
			if o.first == 0 {
				o.first = s.First
			}
			o.segment(s, now[file])
		}
	}
	w.stored(o, now)
	for _, p := range o.positions {
		o.known = max(o.known, p.Floor-min(p.Floor, 1))
		for _, r := range p.Done {
			o.known = max(o.known, r.Last)
		}
	}
	return o
}

// identify says which segment a file is: by its header, by its trailer, or at last by its name. A file whose name and trailer are
// those of one segment is that one, also where its header is that of another.
func (w *world) identify(name string, data []byte) *seg {
	var byHeader, byTrailer, byName *seg
	for _, s := range w.segs {
		if s.headerOf(data) {
			byHeader = s
		}
		if s.sealed && bytes.HasSuffix(data, s.bytes[len(s.bytes)-segment.TrailerSize:]) && len(data) == len(s.bytes) {
			byTrailer = s
		}
		if s.file() == name {
			byName = s
		}
	}
	switch {
	case byHeader != nil && (byTrailer == nil || byTrailer != byName):
		return byHeader
	case byTrailer != nil:
		return byTrailer
	}
	return byName
}

func (s *seg) headerOf(data []byte) bool {
	return len(data) >= segment.HeaderSize && bytes.Equal(data[:segment.HeaderSize], s.bytes[:segment.HeaderSize])
}

// holds tells whether these bytes are as they were.
func (s *seg) holds(data []byte, at, end int64) bool {
	return end <= int64(len(data)) && bytes.Equal(data[at:end], s.bytes[at:end])
}

// segment adds what is left of one.
func (o *oracle) segment(s *seg, data []byte) {
	if s.headerOf(data) {
		o.known = max(o.known, s.Previous.Last, s.First-1)
	}
	if s.sealed {
		data = s.healed(data)
		if bytes.Equal(data, s.bytes) {
			o.known = max(o.known, s.frames[len(s.frames)-1].Mark)
		}
	}
	for _, f := range s.frames {
		if !s.holds(data, f.at, f.end) {
			continue
		}
		o.known = max(o.known, f.Mark)
		switch f.Type {
		case segment.Data:
			o.known = max(o.known, f.Last())
			for q := f.First; q <= f.Last(); q++ {
				o.must[q] = true
			}
		case segment.PositionsFrame:
			o.logged(f, data[f.at+segment.FrameHeaderSize:f.end])
		}
	}
}

// logged takes the positions of outputs that a frame tells of.
func (o *oracle) logged(f frame, payload []byte) {
	var whole segment.Frame
	if whole.Decode(f.FrameHeader, f.at, payload) != nil {
		return
	}
	set, err := segment.DecodePositions(whole.Body())
	if err != nil {
		return
	}
	for _, pair := range set.Pairs {
		if name, ok := checkpoint.OutputName(pair.Key); ok {
			o.position(name, pair.Value)
		}
	}
}

func (o *oracle) position(output string, value []byte) {
	if p, err := checkpoint.Decode(value); err == nil {
		o.positions[output] = checkpoint.Latest(p, o.positions[output])
	}
}

// stored takes the positions that stand beside the log.
func (w *world) stored(o *oracle, now image) {
	if bytes.Equal(now[recovery.CheckpointFile], w.files[recovery.CheckpointFile]) {
		for name, p := range w.outputs {
			o.positions[name] = checkpoint.Latest(p, o.positions[name])
		}
	}
	const slot = 512
	was, is := w.files[recentFile], now[recentFile]
	for at := 0; at+slot <= min(len(was), len(is)); at += slot {
		if !bytes.Equal(was[at:at+slot], is[at:at+slot]) {
			continue
		}
		key := was[at+8:]
		if bytes.HasPrefix(key, []byte(checkpoint.EndKey)) {
			o.known = max(o.known, w.mark)
		}
		for name, p := range w.outputs {
			if bytes.HasPrefix(key, []byte(checkpoint.Key(name))) {
				o.positions[name] = checkpoint.Latest(p, o.positions[name])
			}
		}
	}
}

// healed is what the parity, the two indexes and the two headers of a sealed segment make of its file: all of it where it can be
// made again, else as much as can.
func (s *seg) healed(data []byte) []byte {
	size := int64(len(s.bytes))
	stripe := max(64, int64(s.Size/1024)&^7)
	stripes := (s.dataEnd + stripe - 1) / stripe
	groups := min(segment.Groups, stripes)
	index := (40 + 16*stripes + 4*groups + 4 + 7) &^ 7
	parity := s.dataEnd + index
	indexB := parity + groups*stripe
	trailer := indexB + index

	head, end := s.headerOf(data), int64(len(data)) == size && s.holds(data, trailer, size)
	a, b := s.holds(data, s.dataEnd, parity), s.holds(data, indexB, trailer)
	if !a && !b || !head && !end && !(a && b) {
		return data
	}
	now := make([]byte, size)
	copy(now, data)
	if end {
		copy(now[:segment.HeaderSize], s.bytes) // the trailer has it too
	}
	bad := map[int64][]int64{} // by group
	for i := range stripes {
		from, to := i*stripe, min((i+1)*stripe, s.dataEnd)
		if !s.holds(now, from, to) || to > int64(len(data)) {
			bad[i%groups] = append(bad[i%groups], i)
		}
	}
	whole := true
	for g, members := range bad {
		if len(members) > 1 || !s.holds(data, parity+g*stripe, parity+(g+1)*stripe) {
			whole = false
			continue
		}
		copy(now[members[0]*stripe:min((members[0]+1)*stripe, s.dataEnd)], s.bytes[members[0]*stripe:])
	}
	switch {
	case !head && !end && !s.headerOf(now):
		return data // nothing tells what the indexes are about
	case whole:
		return slices.Clone(s.bytes)
	}
	return now
}
