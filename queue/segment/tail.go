package segment

import "io"

// Tail is what follows the frames of a sealed segment, in memory: that of a segment whose file could not take it yet, so that
// it can be healed all the same.
type Tail struct {
	Trailer Trailer
	bytes   []byte // from Trailer.DataEnd on
}

// Tail is the tail that Seal would write.
func (w *Writer) Tail(mark uint64) *Tail {
	t, pieces := w.tally.seal(w.header, mark, false)
	l := layOut(w.header.Size, t.DataEnd)
	tail := &Tail{Trailer: t, bytes: make([]byte, l.end-t.DataEnd)}
	at := int64(0)
	for _, piece := range pieces {
		at += int64(copy(tail.bytes[at:], piece))
	}
	copy(tail.bytes[l.trailer-t.DataEnd:], t.Encode())
	return tail
}

// Size is that of the sealed segment.
func (t *Tail) Size() int64 { return t.Trailer.DataEnd + int64(len(t.bytes)) }

// Behind is the sealed segment, with its frames in f.
func (t *Tail) Behind(f io.ReaderAt) io.ReaderAt { return tailed{t, f} }

type tailed struct {
	t *Tail
	f io.ReaderAt
}

func (s tailed) ReadAt(b []byte, offset int64) (n int, err error) {
	if end := s.t.Trailer.DataEnd; offset < end {
		within := b[:min(int64(len(b)), end-offset)]
		if n, err = s.f.ReadAt(within, offset); n < len(within) {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if n == len(b) {
		return n, nil
	}
	at := max(offset+int64(n)-s.t.Trailer.DataEnd, 0)
	if at < int64(len(s.t.bytes)) {
		n += copy(b[n:], s.t.bytes[at:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
