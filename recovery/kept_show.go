package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// KeptContent is what can be read in a file that is in quarantine.
type KeptContent struct {
	Kept
	Header  *segment.Header  // of the segment; nil where there is none
	Sealed  *segment.Trailer // nil: not sealed, or not to be known
	Frames  uint64           // that pass
	Records uint64           // in them
	First   uint64           // sequence of the first of these records; 0: there is none
	Last    uint64
	Bad     []segment.Span // bytes of the segment that are no good frame; zeros at the end are none
	Healed  []segment.Span // what of the file parity gives back
	At      int64          // where in the segment a person should look
	Found   []byte         // what stands there, from a multiple of 16 on
	Was     []byte         // what stood there, where that is known; as long as Found
}

// lookBytes is how much of the damaged place is shown, and lookBefore what of it stands before the damage.
const (
	lookBytes  = 192
	lookBefore = 32
)

// FindQuarantined finds a file in the quarantine of dir by its name.
func FindQuarantined(fsys vfs.FS, dir, name string) (Kept, error) {
	if err := IsDataDir(fsys, dir); err != nil {
		return Kept{}, err
	}
	all, err := listQuarantine(fsys, dir)
	if err != nil {
		return Kept{}, err
	}
	for _, k := range all {
		if k.Name != name {
			continue
		}
		l := &keptLook{fsys: fsys, dir: dir, all: all}
		if err := l.readLedger(); err != nil {
			return Kept{}, err
		}
		l.explain(&k)
		return k, nil
	}
	return Kept{}, &NotKeptError{Name: name, Dir: dir}
}

// NotKeptError says that no file in quarantine has a name.
type NotKeptError struct{ Name, Dir string }

func (e *NotKeptError) Error() string {
	return fmt.Sprintf("there is no %q in the %s of %s", e.Name, quarantineDir, e.Dir)
}

// OpenQuarantined opens a file in the quarantine of dir for reading.
func OpenQuarantined(fsys vfs.FS, dir string, k Kept) (vfs.File, error) {
	return fsys.Open(filepath.Join(dir, quarantineDir, k.Name))
}

// ShowQuarantined reads a file in the quarantine of dir.
func ShowQuarantined(fsys vfs.FS, dir, name string) (KeptContent, error) {
	k, err := FindQuarantined(fsys, dir, name)
	if err != nil {
		return KeptContent{}, err
	}
	c := KeptContent{Kept: k}
	if !k.mode.IsRegular() {
		return c, nil
	}
	f, err := OpenQuarantined(fsys, dir, k)
	if err != nil {
		return c, err
	}
	if err = c.read(f); err != nil {
		err = fmt.Errorf("read %s: %w", k.Name, err)
	}
	return c, errors.Join(err, f.Close())
}

func (c *KeptContent) read(f vfs.File) error {
	switch c.Kind {
	case KeptSegment, KeptStray:
		return c.readSegment(f)
	case KeptBytes:
		// Frames know where they stand.
		from := (c.Offset + 7) / 8 * 8
		return c.scan(placedAt{f, c.Offset}, c.Offset, from, c.Offset+c.Length, nil)
	}
	return c.look(f, 0, c.Size, nil)
}

// readSegment reads a file that was a segment.
func (c *KeptContent) readSegment(f vfs.File) error {
	p := inspect(f, listed{name: c.named, path: c.Name, size: c.Size})
	if p.identified {
		c.Header = &p.header
	}
	end := c.Size
	h, err := segment.Diagnose(f, c.Size, c.named)
	switch {
	case errors.Is(err, fs.ErrClosed):
		return err
	case err != nil:
		if p.sealed {
			c.Sealed, end = &p.trailer, p.trailer.DataEnd
		}
		return c.scan(f, 0, segment.HeaderSize, end, nil)
	}
	c.Sealed, c.Healed = &h.Trailer, h.Altered(f)
	if c.Header == nil {
		c.Header = &h.Trailer.Header
	}
	return c.scan(f, 0, segment.HeaderSize, h.Trailer.DataEnd, h)
}

// scan counts the good frames in [from, end) of a file that begins at start.
func (c *KeptContent) scan(f io.ReaderAt, start, from, end int64, h *segment.Healing) error {
	sc := segment.NewScanner(f, c.named.Salt, from, end)
	for {
		p, err := sc.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case p.Bad && p.Zero && p.Offset+p.Size >= end && h == nil && p.Offset > from: // room that was never written to
		case p.Bad:
			c.Bad = append(c.Bad, segment.Span{Offset: p.Offset, Size: p.Size})
		default:
			c.Frames++
			if p.Header.Type == segment.Data {
				c.Records += uint64(p.Header.Count)
				if c.First == 0 {
					c.First = p.Header.First
				}
				c.Last = p.Header.Last()
			}
		}
	}
	at := start
	if len(c.Bad) > 0 {
		at = c.Bad[0].Offset
	}
	if len(c.Healed) > 0 && (len(c.Bad) == 0 || h != nil) {
		at = c.Healed[0].Offset
	}
	if h == nil {
		return c.look(f, at, end, nil)
	}
	return c.look(f, at, c.Size, h.Over(f))
}

// look takes the bytes around a place, and what they were if that is known.
func (c *KeptContent) look(f io.ReaderAt, at, end int64, was io.ReaderAt) error {
	c.At = max(at-lookBefore, c.Offset) / 16 * 16
	if c.At < c.Offset {
		c.At = c.Offset
	}
	c.Found = make([]byte, max(min(lookBytes, end-c.At), 0))
	n, err := (patient{f}).ReadAt(c.Found, c.At)
	if err != nil && err != io.EOF {
		return err
	}
	c.Found = c.Found[:n]
	if was == nil {
		return nil
	}
	c.Was = make([]byte, n)
	if m, _ := was.ReadAt(c.Was, c.At); m < n || bytes.Equal(c.Was, c.Found) {
		c.Was = nil
	}
	return nil
}

// placedAt is a part of a file that stood at an offset of it.
type placedAt struct {
	part   io.ReaderAt
	offset int64
}

func (p placedAt) ReadAt(b []byte, offset int64) (int, error) {
	if offset < p.offset {
		return 0, io.EOF
	}
	return p.part.ReadAt(b, offset-p.offset)
}
