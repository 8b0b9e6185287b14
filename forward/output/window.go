package output

import (
	"bytes"
	"net"
	"slices"
	"sort"
)

// windowSlack is what a window has room for beyond twice its limit, so that records cut nowhere near the limit do not
// make it grow.
const windowSlack = 64 << 10

// window keeps the last bytes that were accepted: as few whole records as make up limit bytes. It takes twice the memory
// of its limit, so that old bytes have to be moved only once in limit bytes, and leaves in one piece.
type window struct {
	limit int // bytes; 0: keep nothing
	buf   []byte
	start int    // buf[start:] is the window
	inner []span // records in buf that no LF ends, or with LF inside, sorted
}

// bytes returns the window, valid until the next add.
func (w *window) bytes() []byte { return w.buf[w.start:] }

// add appends lines as AppendLines gave them together with inner, and forgets what is old. Every slice of lines ends
// with a record.
func (w *window) add(lines net.Buffers, inner []span) {
	if w.limit == 0 {
		return
	}
	// What of the lines stays: left counts the bytes from the present slice on.
	left, base, kept := total(lines), 0, 0
	for len(lines) > 0 {
		cut := boundary(lines[0], left-w.limit, inner, base)
		if cut < len(lines[0]) {
			kept = cut
			break
		}
		left, base, lines = left-cut, base+cut, lines[1:]
	}
	base, left = base+kept, left-kept // where in the lines what stays begins, and its size
	old := w.buf[w.start:]
	w.start += boundary(old, len(old)+left-w.limit, w.inner, w.start)
	w.makeRoom(left)

	shift := len(w.buf) - base
	for _, s := range inner {
		if s.from >= base {
			w.inner = append(w.inner, span{s.from + shift, s.to + shift})
		}
	}
	for _, s := range lines {
		w.buf = append(w.buf, s[kept:]...)
		kept = 0
	}
}

// makeRoom moves the window to the front of its memory when n bytes do not fit behind it, and takes more memory, or
// gives back what one huge record had needed.
func (w *window) makeRoom(n int) {
	if len(w.buf)+n <= cap(w.buf) {
		return
	}
	live := w.buf[w.start:]
	usual, need := 2*w.limit+windowSlack, len(live)+n
	if need > cap(w.buf) || need <= usual && cap(w.buf) > 2*usual {
		w.buf = append(make([]byte, 0, max(usual, need)), live...)
	} else {
		w.buf = append(w.buf[:0], live...)
	}
	w.inner = slices.DeleteFunc(w.inner, func(s span) bool { return s.from < w.start })
	for i := range w.inner {
		w.inner[i] = span{w.inner[i].from - w.start, w.inner[i].to - w.start}
	}
	w.start = 0
}

// boundary returns the last record boundary in b that is not beyond the first most bytes. base is the offset of b in the
// bytes that inner is about.
func boundary(b []byte, most int, inner []span, base int) int {
	if most <= 0 {
		return 0
	}
	most = min(most, len(b))
	i := sort.Search(len(inner), func(i int) bool { return inner[i].to-base > most })
	if i < len(inner) && inner[i].from-base <= most {
		return max(0, inner[i].from-base)
	}
	last := 0
	if i > 0 {
		last = max(0, inner[i-1].to-base)
	}
	return max(last, bytes.LastIndexByte(b[last:most], '\n')+1+last)
}
