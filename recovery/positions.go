package recovery

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// unsealedPrefix begins the keys that name the segments which the queue had to leave without a trailer.
const unsealedPrefix = "unsealed/"

// UnsealedKey is the key under which the log says that a segment has no trailer, because the disk refused it. The value says
// nothing.
func UnsealedKey(name segment.Name) string { return unsealedPrefix + name.String() }

// UnsealedName is UnsealedKey undone; false where a key is another one.
func UnsealedName(key string) (name segment.Name, ok bool) {
	rest, ok := strings.CutPrefix(key, unsealedPrefix)
	if ok {
		name, _ = segment.ParseName(rest)
	}
	return name, ok
}

// gatherer collects the positions of one segment, frame by frame.
type gatherer struct {
	outputsOnly bool // leave out positions of sources

	values   map[string][]byte // newest value of each key; nil: removed
	complete bool              // values began with a full set: older segments add nothing

	set   map[string][]byte // of a full set that is not complete yet
	parts uint32            // of it, seen so far
	since map[string][]byte // what came between its parts

	sourced int64 // offset of the last data frame with a source position
	frame   segment.Frame
	runs    []segment.Run
}

func newGatherer(outputsOnly bool) *gatherer {
	return &gatherer{outputsOnly: outputsOnly, values: make(map[string][]byte)}
}

// settles tells whether no older segment adds to the positions. One without a trailer may yet be cut.
func (p *part) settles() bool {
	return p.normal() && p.sealed && p.positions != nil && p.positions.complete
}

// end gives back what is only needed while frames are taken.
func (g *gatherer) end() { g.set, g.since, g.frame, g.runs = nil, nil, segment.Frame{}, nil }

// take looks at a good frame. A frame that cannot be read is passed over: positions that are too old cost repeats,
// nothing else.
func (g *gatherer) take(p *segment.Part) {
	switch {
	case p.Header.Type == segment.PositionsFrame:
		if g.frame.Decode(p.Header, p.Offset, p.Payload) != nil {
			return
		}
		if set, err := segment.DecodePositions(g.frame.Body()); err == nil {
			g.positions(set)
		}
	case p.Header.Type == segment.Data && !g.outputsOnly:
		runs, err := segment.DecodeMeta(p.Payload[:p.Header.Meta], g.runs)
		if err != nil {
			return
		}
		g.runs = runs
		for _, r := range runs {
			if len(r.Position) == 0 {
				continue
			}
			g.sourced = p.Offset
			g.put(string(r.Key), append([]byte(nil), r.Position...))
		}
	}
}

func (g *gatherer) positions(set segment.Positions) {
	if !set.Full {
		for _, pair := range set.Pairs {
			g.put(pair.Key, pair.Value)
		}
		return
	}
	if set.Part == 0 {
		g.set, g.parts, g.since = make(map[string][]byte), 0, make(map[string][]byte)
	}
	if g.set == nil || set.Part != g.parts {
		g.set = nil // a part is missing
		return
	}
	for _, pair := range set.Pairs {
		if g.wants(pair.Key) {
			g.set[pair.Key] = pair.Value
		}
	}
	if g.parts++; g.parts == set.Parts {
		g.values, g.complete = g.set, true
		maps.Copy(g.values, g.since)
		g.set = nil
	}
}

func (g *gatherer) put(key string, value []byte) {
	if !g.wants(key) {
		return
	}
	g.values[key] = value
	if g.set != nil {
		g.since[key] = value
	}
}

func (g *gatherer) wants(key string) bool {
	if !g.outputsOnly {
		return true
	}
	_, output := checkpoint.OutputName(key)
	return output || strings.HasPrefix(key, unsealedPrefix)
}

// merge is the positions after the segments of these gatherers, oldest first; nil ones know nothing.
func merge(gatherers []*gatherer) map[string][]byte {
	values := make(map[string][]byte)
	for _, g := range gatherers {
		if g == nil {
			continue
		}
		if g.complete {
			clear(values)
		}
		for key, value := range g.values {
			if value == nil {
				delete(values, key)
				continue
			}
			values[key] = value
		}
	}
	return values
}

// split parts values into the positions of outputs, by the name of the output, and all others. Values of outputs that
// cannot be read are left out and named in bad.
func split(values map[string][]byte) (outputs map[string]checkpoint.Position, others map[string][]byte, bad []string) {
	outputs, others = make(map[string]checkpoint.Position), make(map[string][]byte)
	for key, value := range values {
		name, ok := checkpoint.OutputName(key)
		if !ok {
			others[key] = value
			continue
		}
		p, err := checkpoint.Decode(value)
		if err != nil {
			bad = append(bad, name)
			continue
		}
		outputs[name] = p
	}
	return outputs, others, bad
}

// beside is what stands beside the log.
type beside struct {
	positions map[string]checkpoint.Position // as far as they are sound
	findings  []string                       // what is wrong with the database
	err       error                          // why nothing can be said of the database
}

// lookBeside reads what a start would load, without opening it. store has the positions where that is no database in dir; nil: it is one.
func lookBeside(fsys vfs.FS, dir string, store checkpoint.Store) (b beside) {
	if store != nil {
		b.positions, b.err = store.Load()
	} else {
		b.positions, b.findings, b.err = checkpoint.Examine(fsys, filepath.Join(dir, CheckpointFile))
	}
	return b.withRecent(fsys, dir)
}

// withRecent adds what is in the file of recent positions.
func (b beside) withRecent(fsys vfs.FS, dir string) beside {
	if b.positions == nil {
		b.positions = map[string]checkpoint.Position{}
	}
	for key, p := range checkpoint.ReadRecent(fsys, filepath.Join(dir, RecentFile)) {
		b.positions[key] = checkpoint.Latest(p, b.positions[key])
	}
	return b
}

// missing tells whether there is no database. Then the log may be all that tells how far the outputs are.
func (b beside) missing() bool { return slices.Contains(b.findings, checkpoint.Missing) }

// known are the positions after the newest of these parts, those of outputs with the stored ones, and the outputs whose value
// cannot be read.
func known(parts []*part, stored map[string]checkpoint.Position) (outputs map[string]checkpoint.Position, others map[string][]byte, bad []string) {
	var gathered []*gatherer
	for _, p := range newest(parts) {
		if p.normal() {
			gathered = append(gathered, p.positions)
		}
	}
	outputs, others, bad = split(merge(gathered))
	for key, p := range stored {
		if name, ok := checkpoint.OutputName(key); ok {
			outputs[name] = checkpoint.Latest(p, outputs[name])
		}
	}
	return outputs, others, bad
}

// newest are those of the parts that a start reads: back to the second one that holds records. What older ones say of positions is of
// no use where these have lost theirs: the outputs have got on since, and what they did then may be deleted.
func newest(parts []*part) []*part {
	full := 0
	for i, p := range slices.Backward(parts) {
		if p.normal() && p.holdsRecords() {
			full++
		}
		if full == 2 {
			return parts[i:]
		}
	}
	return parts
}

// durable is the mark as far as frames and positions prove it.
func durable(parts []*part, outputs map[string]checkpoint.Position) uint64 {
	mark := proven(outputs)
	for _, p := range parts {
		if p.normal() {
			mark = max(mark, p.mark)
		}
	}
	return mark
}

// given is the last sequence that was ever given, as far as parts, mark and ledger tell.
func given(parts []*part, mark uint64, sums *ledgerSums) uint64 {
	last := max(mark, sums.lost.Last())
	bounded := false // a later segment says where a file ends that cannot be read
	for _, p := range slices.Backward(parts) {
		switch {
		case p.opaque && !p.gone && !bounded:
			last = max(last, p.lastPossible())
		case p.normal():
			last = max(last, p.seen, p.header.Previous.Last)
			if p.identified {
				last = max(last, p.header.First-1)
			}
			bounded = true
		}
	}
	return last
}

// proven is the highest sequence that positions prove to have been durable: readers never pass the mark.
func proven(outputs map[string]checkpoint.Position) uint64 {
	var last uint64
	for _, p := range outputs {
		if p.Floor > 0 {
			last = max(last, believable(p.Floor-1))
		}
		for _, r := range p.Done {
			last = max(last, believable(r.Last))
		}
	}
	return last
}

// noted is the durable mark that the log's last process has noted beside the stored positions, 0: none.
func noted(stored map[string]checkpoint.Position) uint64 {
	if end := stored[checkpoint.EndKey]; end.Floor > 0 {
		return believable(end.Floor - 1)
	}
	return 0
}

// believable is a sequence, or 0 where it is none.
func believable(sequence uint64) uint64 {
	if sequence > segment.MaxSequence {
		return 0
	}
	return sequence
}
