package forward

import (
	"logmule/checkpoint"
	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue/segment"
)

// part is a run of a frame, or what is not done of it, and what of it is to be delivered.
type part struct {
	epoch segment.Epoch
	first uint64 // sequence of its first record
	run   output.Run

	passes int      // records that are not filtered out
	size   int      // bytes of the body that they take
	out    []uint64 // where some pass and some do not: a bitmap of those that do not
}

func (p *part) last() uint64 { return p.first + uint64(p.run.Count) - 1 }

// without appends to parts what is left of p when the done records are taken out. done is in order.
func (p part) without(parts []part, done []checkpoint.Range) []part {
	for _, d := range done {
		if p.run.Count == 0 || d.First > p.last() {
			break
		}
		if d.Last < p.first {
			continue
		}
		if d.First > p.first {
			parts = append(parts, p.cut(int(d.First-p.first)))
		}
		p.cut(int(min(d.Last, p.last()) - p.first + 1))
	}
	if p.run.Count > 0 {
		parts = append(parts, p)
	}
	return parts
}

// cutAll appends to parts the pieces of p when it is cut behind each of these sequences, which are in order.
func (p part) cutAll(parts []part, cuts []uint64) []part {
	for _, c := range cuts {
		if c >= p.first && c < p.last() {
			parts = append(parts, p.cut(int(c-p.first+1)))
		}
	}
	return append(parts, p)
}

// cut takes the first n records off p and returns them.
func (p *part) cut(n int) part {
	head := *p
	rest := p.run.Body
	for range n {
		_, _, rest = pack.Split(p.run.Form, rest, 0)
	}
	head.run.Count = n
	head.run.Body = p.run.Body[:len(p.run.Body)-len(rest)]
	p.first += uint64(n)
	p.run.Count -= n
	p.run.Body = rest
	return head
}
