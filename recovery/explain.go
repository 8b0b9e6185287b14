package recovery

import (
	"context"
	"io"
	"maps"
	"slices"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// Lost is what is known of the records that a damage has cost.
type Lost struct {
	Records      uint64       `json:"records"`
	Sources      []string     `json:"sources,omitempty"` // whose they were; none: nothing tells
	SourcesExact bool         `json:"sources_exact"`     // their own frames say so; else those of all records around them
	From         time.Time    `json:"from,omitzero"`     // when they arrived
	To           time.Time    `json:"to,omitzero"`
	TimesExact   bool         `json:"times_exact"` // their own frames say so; else they came between these times
	Outputs      []LostForOne `json:"outputs"`     // by name

	around bool // the sources are those of the records around them
}

// LostForOne is what a loss means to one output.
type LostForOne struct {
	Name    string `json:"name"`
	Done    uint64 `json:"done"`    // of the lost records, those that it had done before
	Missing uint64 `json:"missing"` // those that it will not get
}

// explainer finds out what lost records were, from what is left of their frames and from the frames around them.
type explainer struct {
	ctx     context.Context
	fsys    vfs.FS
	parts   []*part
	outputs map[string]checkpoint.Position
	source  func(key string) string // what a person calls the source with this key; nil: the key
	known   map[*part]names         // that were looked for already
}

// Known are the sources where there is no doubt: those that the ledger names.
func (l *Lost) Known() []string {
	if l == nil || !l.SourcesExact {
		return nil
	}
	return l.Sources
}

// SourcesOf says whose the lost records were for which bad bytes of a segment stand, where what is left of them tells. It reads at most nearBytes before and after. source is what a person calls the source with a key; nil: the key.
func SourcesOf(f io.ReaderAt, name segment.Name, bad segment.Span, lost checkpoint.Range, source func(key string) string) []string {
	p := &part{listed: listed{name: name, size: bad.End() + nearBytes}, header: segment.Header{Salt: name.Salt, First: name.First}}
	h := &hurtRange{finding: finding{part: p, span: span{bad.Offset, bad.Size}, lost: lost}, lost: &Lost{}}
	x := explainer{ctx: context.Background(), parts: []*part{p}, source: source}
	x.withinFile(f, p, []*hurtRange{h}, max(segment.HeaderSize, (bad.Offset-nearBytes)&^7))
	return h.lost.Known()
}

// nearBytes is how far SourcesOf looks.
const nearBytes = 1 << 20

// edge is what the data frame next to a loss says.
type edge struct {
	time    int64 // 0: there is none
	sources []string
}

// explain returns what is known of each finding that has lost records, nil for the others. Only the end of the context is an error.
func (x *explainer) explain(found []finding) ([]*Lost, error) {
	all := make([]*Lost, len(found))
	within := make(map[*part][]*hurtRange)
	for i, f := range found {
		if f.torn || f.lost.First == 0 {
			continue
		}
		all[i] = &Lost{Records: f.lost.Last - f.lost.First + 1, Outputs: x.delivered(f.lost)}
		h := &hurtRange{finding: f, lost: all[i]}
		if f.part != nil {
			within[f.part] = append(within[f.part], h)
			continue
		}
		h.before, h.after, h.near = x.lastOf(f.after), x.firstOf(x.following(f.after)), names{}
		for _, p := range []*part{f.after, x.following(f.after)} {
			x.sourcesIn(p, h.near)
		}
		h.tell()
	}
	for _, p := range x.parts {
		if err := context.Cause(x.ctx); err != nil {
			return nil, err
		}
		if hurt := within[p]; len(hurt) > 0 {
			slices.SortFunc(hurt, func(a, b *hurtRange) int { return int(min(1, max(-1, a.offset-b.offset))) })
			x.within(p, hurt)
		}
	}
	return all, nil
}

// delivered compares lost records with the positions of the outputs.
func (x *explainer) delivered(lost checkpoint.Range) []LostForOne {
	all := []LostForOne{}
	for _, name := range slices.Sorted(maps.Keys(x.outputs)) {
		missing := backlog(x.outputs[name], lost.First, lost.Last)
		all = append(all, LostForOne{Name: name, Done: lost.Last - lost.First + 1 - missing, Missing: missing})
	}
	return all
}

func (x *explainer) following(p *part) *part {
	at := slices.Index(x.parts, p)
	for i, after := range x.parts {
		if at >= 0 && i > at && after.normal() {
			return after
		}
	}
	return nil
}

func (x *explainer) before(p *part) *part {
	for _, before := range slices.Backward(x.parts[:max(slices.Index(x.parts, p), 0)]) {
		if before.normal() {
			return before
		}
	}
	return nil
}

// hurtRange is a finding in one file, and what is learned of it.
type hurtRange struct {
	finding
	lost          *Lost
	before, after edge
	near          names             // sources of good frames in the same file, or in its neighbours
	found         checkpoint.Ranges // of the lost sequences, those whose frame header is still good
	from, to      int64             // times of these
	sources       []string          // of those whose meta can be read too
	unread        bool              // the meta of some cannot
	doubted       bool              // no good frame has the same: it may be the damage that makes them up
}

// within explains the losses in one file, in order of their offsets: one pass over its frames, and one over the bad bytes.
func (x *explainer) within(p *part, hurt []*hurtRange) {
	f, err := x.fsys.Open(p.path)
	if err != nil {
		return // it went meanwhile
	}
	defer f.Close()
	x.withinFile(p.image(f), p, hurt, segment.HeaderSize)
}

// withinFile is within for the frames from an offset on.
func (x *explainer) withinFile(image io.ReaderAt, p *part, hurt []*hurtRange, from int64) {
	seen := x.frames(image, p, hurt, from)
	for _, h := range hurt {
		if h.before.time == 0 {
			h.before = x.lastOf(x.before(p))
		}
		if h.after.time == 0 {
			h.after = x.firstOf(x.following(p))
		}
		seen.add(h.before.sources)
		seen.add(h.after.sources)
	}
	for _, h := range hurt {
		x.remains(image, p, h)
		h.near = seen
		if !seen.has(h.sources) {
			h.near = maps.Clone(seen)
			x.sourcesIn(x.before(p), h.near)
			x.sourcesIn(x.following(p), h.near)
		}
		h.doubted = !h.near.has(h.sources)
		h.tell()
	}
}

// sourcesIn adds the sources of a neighbouring segment: a name that stands there too is not made up by damage.
func (x *explainer) sourcesIn(p *part, seen names) {
	if p == nil {
		return
	}
	if x.known[p] == nil {
		f, err := x.fsys.Open(p.path)
		if err != nil {
			return
		}
		defer f.Close()
		if x.known == nil {
			x.known = map[*part]names{}
		}
		x.known[p] = x.frames(p.image(f), p, nil, segment.HeaderSize)
	}
	maps.Copy(seen, x.known[p])
}

// names are the sources that good frames have.
type names map[string]bool

func (n names) add(sources []string) {
	for _, s := range sources {
		n[s] = true
	}
}

func (n names) has(sources []string) bool {
	return !slices.ContainsFunc(sources, func(s string) bool { return !n[s] })
}

// frames finds the data frames around each range, and the sources of all frames in the file.
func (x *explainer) frames(f io.ReaderAt, p *part, hurt []*hurtRange, from int64) names {
	seen := names{}
	keys := map[string]bool{} // what is in seen under another name
	var last edge
	var meta []byte // of the frame before
	var runs []segment.Run
	known := func() edge {
		if last.time != 0 && last.sources == nil {
			last.sources = x.sourcesOf(meta)
		}
		return last
	}
	next := 0 // the first range that no frame has passed
	x.eachData(f, p, from, func(s *segment.Part) bool {
		now := edge{time: s.Header.Time}
		m := s.Payload[:s.Header.Meta]
		for ; next < len(hurt) && s.Offset >= hurt[next].offset; next++ {
			hurt[next].before = known()
		}
		for _, h := range hurt[:next] {
			if h.after.time == 0 && s.Offset >= h.offset+h.length {
				now.sources = x.sourcesOf(m)
				h.after = now
			}
		}
		runs, _ = segment.DecodeMeta(m, runs)
		for _, r := range runs {
			if !keys[string(r.Key)] {
				keys[string(r.Key)] = true
				seen[x.name(r.Key)] = true
			}
		}
		last, meta = now, append(meta[:0], m...)
		return context.Cause(x.ctx) == nil
	})
	for ; next < len(hurt); next++ {
		hurt[next].before = known()
	}
	return seen
}

// eachData calls fn with the data frames of a file from an offset on, until it says false.
func (x *explainer) eachData(f io.ReaderAt, p *part, from int64, fn func(*segment.Part) bool) {
	sc := segment.NewScanner(f, p.header.Salt, from, p.framesEnd())
	for {
		s, err := sc.Next()
		if err != nil || !s.Bad && s.Header.Type == segment.Data && !fn(&s) {
			return
		}
	}
}

// framesEnd is where frames may end.
func (p *part) framesEnd() int64 {
	if p.sealed {
		return p.trailer.DataEnd
	}
	return p.size
}

// remains asks what is left of the frames in the bad bytes when their records came, and whose they were.
func (x *explainer) remains(f io.ReaderAt, p *part, h *hurtRange) {
	segment.Remains(patient{f}, p.header.Salt, segment.Span{Offset: h.offset, Size: h.length}, func(header segment.FrameHeader, meta []byte) {
		if header.Last() < h.finding.lost.First || header.First > h.finding.lost.Last {
			return
		}
		h.header(header)
		if meta == nil {
			h.unread = true
			return
		}
		h.sources = append(h.sources, x.sourcesOf(meta)...)
	})
}

// header takes the word of a frame header.
func (h *hurtRange) header(header segment.FrameHeader) {
	if len(h.found) == 0 {
		h.from, h.to = header.Time, header.Time
	}
	h.from, h.to = min(h.from, header.Time), max(h.to, header.Time)
	h.found = h.found.Add(header.First, header.Last())
}

// tell puts together what was learned.
func (h *hurtRange) tell() {
	l := h.lost
	whole := h.part != nil && len(h.found.Without(h.finding.lost.First, h.finding.lost.Last)) == 0
	l.TimesExact, l.SourcesExact = whole, whole && !h.unread && !h.doubted
	from, to := h.from, h.to
	sources := slices.Clone(h.sources)
	if !whole {
		for _, t := range []int64{h.before.time, h.after.time} {
			if t != 0 && (from == 0 || t < from) {
				from = t
			}
			to = max(to, t)
		}
	}
	if !whole || h.unread {
		sources, l.around = slices.Collect(maps.Keys(h.near)), true
	}
	slices.Sort(sources)
	l.Sources = slices.Compact(sources)
	l.From, l.To = moment(from), moment(to)
}

// firstOf and lastOf are the outermost data frames of a segment.
func (x *explainer) firstOf(p *part) edge { return x.outermost(p, false) }

func (x *explainer) lastOf(p *part) edge { return x.outermost(p, true) }

func (x *explainer) outermost(p *part, last bool) edge {
	if p == nil || !p.holdsRecords() {
		return edge{}
	}
	f, err := x.fsys.Open(p.path)
	if err != nil {
		return edge{}
	}
	defer f.Close()
	from := int64(segment.HeaderSize)
	if last && p.sealed {
		if index, err := segment.ReadIndex(f, p.trailer); err == nil {
			from = index.Seek(p.last)
		}
	}
	var e edge
	var meta []byte
	x.eachData(p.image(f), p, from, func(s *segment.Part) bool {
		e.time, meta = s.Header.Time, append(meta[:0], s.Payload[:s.Header.Meta]...)
		return last
	})
	if e.time != 0 {
		e.sources = x.sourcesOf(meta)
	}
	return e
}

// sourcesOf are the sources in a table of runs, by name.
func (x *explainer) sourcesOf(meta []byte) []string {
	runs, _ := segment.DecodeMeta(meta, nil)
	sources := []string{}
	for _, r := range runs {
		if name := x.name(r.Key); !slices.Contains(sources, name) {
			sources = append(sources, name)
		}
	}
	return sources
}

func (x *explainer) name(key []byte) string {
	if x.source == nil {
		return string(key)
	}
	return x.source(string(key))
}
