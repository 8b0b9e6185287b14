package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Two files are taken for copies of one content where so many bytes at their beginning are the same, and so many before
// the end of the shorter one.
const (
	sameHead = 64 << 10
	sameTail = 4 << 10
)

// holds says whether a file holds the content at p, and how: as far as it was read, or only a shorter part of that, which
// is what a copy is that was made before the last bytes were written and read. An error is one of reading.
func (s *sight) holds(p *position) (yes bool, upto int64, err error) {
	gz := s.gzip
	if err := s.refresh(); err != nil {
		return false, 0, err
	}
	if !gz && s.size < p.offset {
		return s.holdsPart(p)
	}
	q := *p
	src, _, _, err := checked(s.path, s.id, gz, &q)
	if gz && (errors.Is(err, errChanged) || err == io.EOF) {
		return s.holdsPart(p)
	}
	if errors.Is(err, errChanged) {
		return false, 0, nil
	}
	if err != nil {
		return false, 0, err
	}
	src.close()
	return p.head.n > 0 || p.offset > 0, p.offset, nil
}

// refresh looks at the file again: it may have grown or been replaced since.
func (s *sight) refresh() error {
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if idOf(info) != s.id {
		return fmt.Errorf("look at %s: %w", s.path, errMoved)
	}
	s.size, s.mtime = info.Size(), info.ModTime().UnixNano()
	return nil
}

// holdsPart is holds for a file that is shorter than what was read.
func (s *sight) holdsPart(p *position) (yes bool, upto int64, err error) {
	src, info, err := openSource(s.path, s.id, s.gzip)
	if err != nil {
		return false, 0, err
	}
	defer src.close()
	if s.gzip {
		if _, err := src.readAt(make([]byte, 1), p.offset); err != io.EOF {
			return false, 0, nil // it breaks off, or is not compressed at all
		}
	}
	upto = src.length(info)
	q, sure := position{}, false
	if upto >= int64(p.head.n) {
		q.head, sure = p.head, p.head.n > 0
	}
	for _, m := range p.marks {
		if m.offset <= upto {
			q.offset, q.tail, sure = m.offset, m.tail, true
		}
	}
	if !sure {
		return false, 0, nil
	}
	if _, err = src.section(q.head, 0); err == nil {
		_, err = src.section(q.tail, q.offset-int64(q.tail.n))
	}
	if errors.Is(err, errChanged) {
		return false, 0, nil
	}
	return err == nil, upto, err
}

// copyOf says whether the files a and b begin with the same bytes, one of them perhaps with more: one is then a copy of
// the other, complete or still being made. Files of which one is empty are not.
func copyOf(a, b *sight) (bool, error) {
	x, i, err := openSource(a.path, a.id, a.gzip)
	if err != nil {
		return false, err
	}
	defer x.close()
	y, j, err := openSource(b.path, b.id, b.gzip)
	if err != nil {
		return false, err
	}
	defer y.close()
	same, short, err := sameAt(x, y, 0, sameHead)
	if same && short && a.gzip != b.gzip {
		// Of what is compressed completely nothing is missing.
		same = !x.ended() && !y.ended() || x.length(i) == y.length(j)
	}
	if !same || err != nil || short || a.gzip || b.gzip {
		return same, err
	}
	end := min(i.Size(), j.Size())
	same, _, err = sameAt(x, y, max(0, end-sameTail), min(end, sameTail))
	return same, err
}

// ended says whether a compressed file was read to a clean end.
func (s *source) ended() bool { return s.gz != nil && s.gz.err == io.EOF }

// length is that of the content of a file, as far as is known.
func (s *source) length(info os.FileInfo) int64 {
	if s.gz == nil {
		return info.Size()
	}
	return s.gz.at + int64(len(s.gz.kept))
}

// sameAt compares up to n bytes. short says that one of the files ended.
func sameAt(x, y *source, offset, n int64) (same, short bool, err error) {
	a, b := make([]byte, n), make([]byte, n)
	i, err := x.readAt(a, offset)
	if err != nil && err != io.EOF && !incomplete(err) {
		return false, false, err
	}
	j, err := y.readAt(b, offset)
	if err != nil && err != io.EOF && !incomplete(err) {
		return false, false, err
	}
	common := min(i, j)
	return common > 0 && bytes.Equal(a[:common], b[:common]), int64(common) < n, nil
}

// window reads the bytes before offset, or as many of them as there are.
func (s *sight) window(offset int64) ([]byte, error) {
	src, _, err := openSource(s.path, s.id, s.gzip)
	if err != nil {
		return nil, err
	}
	defer src.close()
	b := make([]byte, min(offset, tailSize))
	n, err := src.readAt(b, offset-int64(len(b)))
	if err != nil && err != io.EOF && !incomplete(err) {
		return nil, err
	}
	return b[:n], nil
}
