package recovery

import (
	"context"
	"fmt"
	"io"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// unhealed says where else the bytes of a segment are that its parity could not give back.
func (l *keptLook) unhealed(k *Kept, bad []segment.Span) string {
	var copied checkpoint.Ranges
	for _, o := range l.twins(k, KeptBytes) {
		copied = copied.Add(uint64(o.Offset), uint64(o.Offset+o.Length-1))
	}
	var only int64
	for _, s := range bad {
		for _, r := range copied.Without(uint64(s.Offset), uint64(s.End()-1)) {
			if offset, size := int64(r.First), int64(r.Last-r.First+1); !l.replaced(k, offset, size) {
				only += size
			}
		}
	}
	if only == 0 {
		return fmt.Sprintf("parity could not give back all of it: %d bytes as they were are in here, and in files beside it that end in .bin", spanned(bad))
	}
	return fmt.Sprintf("parity could not give back all of it: this is the only copy of %d bytes as they were", only)
}

// replaced tells whether the segment in place has the same bytes at an offset.
func (l *keptLook) replaced(k *Kept, offset, size int64) bool {
	is, err := l.fsys.Open(segmentPath(l.dir, k.named))
	if err != nil {
		return false
	}
	defer is.Close() // both are only read
	was, err := OpenQuarantined(l.fsys, l.dir, *k)
	if err != nil {
		return false
	}
	defer was.Close()
	same, err := isSame(context.Background(), io.NewSectionReader(is, offset, size), io.NewSectionReader(was, offset, size))
	return err == nil && same
}

// twins are the files in quarantine of a kind that hold the same bytes of the same segment as k, of which one is a range of them.
func (l *keptLook) twins(k *Kept, kind string) (found []Kept) {
	for _, o := range l.all {
		whole, part := o, *k
		if kind == KeptBytes {
			whole, part = *k, o
		}
		if o.Kind == kind && o.named == k.named && part.Size == part.Length && l.within(part, whole) {
			found = append(found, o)
		}
	}
	return found
}

// within tells whether a copy of a range has the bytes that the segment has there.
func (l *keptLook) within(part, whole Kept) bool {
	a, err := OpenQuarantined(l.fsys, l.dir, part)
	if err != nil {
		return false
	}
	defer a.Close() // both are only read
	b, err := OpenQuarantined(l.fsys, l.dir, whole)
	if err != nil {
		return false
	}
	defer b.Close()
	same, err := isSame(context.Background(), a, io.NewSectionReader(b, part.Offset, part.Length))
	return err == nil && same && part.Offset+part.Length <= whole.Size
}
