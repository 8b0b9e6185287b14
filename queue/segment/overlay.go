package segment

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// Over is the healed segment as long as the damaged file f is all that there is on the disk. Bytes that cannot be read and
// have not been healed are an error there too; those that the file lacks are zeros. Not after Drop.
func (h *Healing) Over(f io.ReaderAt) io.ReaderAt { return overlay{h, f} }

type overlay struct {
	h *Healing
	f io.ReaderAt
}

func (o overlay) ReadAt(b []byte, offset int64) (int, error) {
	end := min(offset+int64(len(b)), o.h.Size)
	if offset < 0 || offset >= end {
		return 0, io.EOF
	}
	at := offset
	for at < end {
		next, p := o.h.next(at)
		var n int
		switch {
		case p != nil && p.at <= at:
			n = copy(b[at-offset:end-offset], p.data[at-p.at:])
		default:
			part := b[at-offset : min(next, end)-offset]
			var err error
			n, err = o.f.ReadAt(part, at)
			if n < len(part) && err != nil && err != io.EOF {
				return int(at-offset) + n, err
			}
			clear(part[n:])
			n = len(part)
		}
		at += int64(n)
	}
	if n := int(at - offset); n < len(b) {
		return n, io.EOF
	}
	return len(b), nil
}

// lay puts the patches over the bytes of the file from offset on.
func (h *Healing) lay(b []byte, offset int64) {
	for end := offset + int64(len(b)); ; {
		at, p := h.next(offset)
		if p == nil || at >= end {
			return
		}
		from := max(at, offset)
		copy(b[from-(end-int64(len(b))):], p.data[from-at:])
		offset = p.end()
	}
}

// next is the patch that holds this offset, or that follows it, and where it begins.
func (h *Healing) next(at int64) (int64, *patch) {
	i, _ := slices.BinarySearchFunc(h.patches, at, func(p patch, at int64) int {
		if p.end() <= at {
			return -1
		}
		return 1
	})
	if i == len(h.patches) {
		return h.Size, nil
	}
	return h.patches[i].at, &h.patches[i]
}

// Write writes the healed segment to an empty file. Bytes that stay bad go over as they are, zeros where they cannot be
// read. An error of the file system on anything else ends it: what could be read before must not become zeros.
func (h *Healing) Write(into io.WriterAt, f io.ReaderAt) error {
	image := h.Over(f)
	b := make([]byte, min(window, h.Size))
	for at := int64(0); at < h.Size; at += int64(len(b)) {
		b = b[:min(int64(len(b)), h.Size-at)]
		var failed error
		n, err := readSparing(image, b, at, func(from, to int64, err error) {
			what := Span{from, to - from}
			if !slices.ContainsFunc(h.Bad, what.Overlaps) && !slices.ContainsFunc(h.BadParity, what.Overlaps) {
				failed = errors.Join(failed, fmt.Errorf("bytes %d to %d could be read a moment ago: %w", from, to, err))
			}
		})
		if err == nil && n < len(b) {
			err = io.ErrUnexpectedEOF
		}
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("read damaged segment %s: %w", h.Trailer.Header.Name(), err)
		}
		if _, err := into.WriteAt(b, at); err != nil {
			return fmt.Errorf("write healed segment %s at offset %d: %w", h.Trailer.Header.Name(), at, err)
		}
	}
	return nil
}

// Altered are the runs of Healed without what at their ends is in the file f as it should be.
func (h *Healing) Altered(f io.ReaderAt) []Span {
	var found []Span
	for _, s := range h.Healed {
		was, is := make([]byte, s.Size), make([]byte, s.Size)
		_, err := readFull(f, was, s.Offset)
		if _, healed := readFull(h.Over(f), is, s.Offset); err == nil && healed == nil {
			from, to := 0, len(is)
			for from < to && was[from] == is[from] {
				from++
			}
			for to > from && was[to-1] == is[to-1] {
				to--
			}
			s = Span{s.Offset + int64(from), int64(to - from)}
		}
		found = append(found, s)
	}
	return found
}

// Changed are the bytes of the damaged file that the healed one does not have: what has to be kept before they are replaced.
func (h *Healing) Changed() []Span {
	var changed []Span
	for _, p := range h.patches {
		if s := (Span{p.at, min(p.end(), h.was) - p.at}); s.Size > 0 {
			changed = join(changed, s)
		}
	}
	if h.was > h.Size {
		changed = join(changed, Span{h.Size, h.was - h.Size})
	}
	return changed
}
