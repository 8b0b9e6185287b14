package recovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"logmule/queue/vfs"
)

const (
	copyBlock = 1 << 20
	diskBlock = 4 << 10
)

// asideLock is the lock under which a lock file that is none is set aside; it is no part of what is kept.
const asideLock = ".lock"

// quarantineDir is where bytes are kept that a recovery cuts off or gives up.
const quarantineDir = "quarantine"

// Quarantine copies length bytes at offset of a segment to quarantine/<segment>-<offset>-<length>.bin in dir and
// returns that name, relative to dir. When it returns nil the copy is durable, so the original may be changed. Bytes
// that cannot be read are zeros in the copy. The same bytes are never copied twice: a start that was cut short finds
// what it had saved. Other bytes of the same place get a name of their own.
func Quarantine(fsys vfs.FS, dir string, from io.ReaderAt, segment string, offset, length int64) (string, error) {
	return quarantine(context.Background(), fsys, dir, from, segment, offset, length)
}

// quarantine is Quarantine that ends with ctx, and then leaves nothing.
func quarantine(ctx context.Context, fsys vfs.FS, dir string, from io.ReaderAt, segment string, offset, length int64) (string, error) {
	if err := fsys.MkdirAll(filepath.Join(dir, quarantineDir)); err != nil {
		return "", fmt.Errorf("make quarantine directory in %s: %w", dir, err)
	}
	bytesOf := io.NewSectionReader(patient{from}, offset, length)
	for n := 1; ; n++ {
		name := copyName(segment, offset, length)
		if n > 1 {
			name = fmt.Sprintf("%s.%d", name, n)
		}
		path := filepath.Join(dir, name)
		same, err := holds(ctx, fsys, path, bytesOf)
		switch {
		case err == nil && !same:
			continue
		case errors.Is(err, fs.ErrNotExist):
			err = writeCopy(ctx, fsys, path, from, offset, length)
		}
		if err == nil {
			err = fsys.SyncDir(filepath.Dir(path))
		}
		if err != nil {
			return "", fmt.Errorf("copy damaged bytes to %s: %w", path, err)
		}
		return name, nil
	}
}

// copyName is where a copy of these bytes goes, relative to the data directory.
func copyName(segment string, offset, length int64) string {
	return filepath.Join(quarantineDir, fmt.Sprintf("%s-%d-%d.bin", segment, offset, length))
}

// holds says whether the file has exactly these bytes, and if so makes sure that they are durable: the start that wrote
// them may have ended before it knew.
func holds(ctx context.Context, fsys vfs.FS, path string, want *io.SectionReader) (bool, error) {
	if _, err := fsys.Stat(path); err != nil {
		return false, err
	}
	f, err := fsys.Open(path)
	if err != nil {
		return false, nil // something else stands there
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size != want.Size() {
		return false, err
	}
	if same, err := isSame(ctx, f, want); !same || err != nil {
		return false, err
	}
	return true, f.Sync()
}

// isSame tells whether a file begins with these bytes. The error is one of reading them, or
// that of ctx.
func isSame(ctx context.Context, f io.ReaderAt, want *io.SectionReader) (bool, error) {
	size := want.Size()
	a, b := make([]byte, min(copyBlock, size)), make([]byte, min(copyBlock, size))
	for at := int64(0); at < size; at += copyBlock {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		n := min(copyBlock, size-at)
		if _, err := want.ReadAt(a[:n], at); err != nil && err != io.EOF {
			return false, err
		}
		if _, err := f.ReadAt(b[:n], at); err != nil && err != io.EOF {
			return false, nil
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
	}
	return true, nil
}

func writeCopy(ctx context.Context, fsys vfs.FS, path string, from io.ReaderAt, offset, length int64) error {
	temp := path + ".tmp"
	if err := fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(temp)
	if err != nil {
		return err
	}
	err = copyBytes(ctx, f, from, offset, length)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, fsys.Remove(temp))
	}
	return nil
}

// copyBytes writes length bytes at offset of a file, or what there is of them, to the beginning of another one. Holes stay holes, and
// so do blocks of nothing but zeros.
func copyBytes(ctx context.Context, into vfs.File, from io.ReaderAt, offset, length int64) error {
	block := make([]byte, min(copyBlock, length))
	var written, size int64
	for at := int64(0); at < length; at = size {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if data := min(vfs.NextData(from, offset+at)-offset, length); data-at >= copyBlock {
			size = data - data%copyBlock
			continue
		}
		b := block[:min(copyBlock, length-at)]
		n, err := patient{from}.ReadAt(b, offset+at)
		if err != nil && err != io.EOF {
			return err
		}
		size = at + int64(n)
		if len(bytes.TrimLeft(b[:n], "\x00")) > 0 {
			if _, err := into.WriteAt(b[:n], at); err != nil {
				return err
			}
			written = size
		}
		if n < len(b) {
			break
		}
	}
	if written < size {
		return into.Truncate(size)
	}
	return nil
}

// patient reads from a file on a failing disk: blocks that cannot be read are zeros.
type patient struct{ from io.ReaderAt }

func (p patient) ReadAt(b []byte, offset int64) (int, error) {
	n, err := p.from.ReadAt(b, offset)
	if err == nil || err == io.EOF {
		return n, err
	}
	for n = 0; n < len(b); {
		block := min(len(b)-n, diskBlock-int((offset+int64(n))%diskBlock))
		got, err := p.from.ReadAt(b[n:n+block], offset+int64(n))
		if err == io.EOF {
			return n + got, io.EOF
		}
		if err != nil {
			clear(b[n : n+block])
		}
		n += block
	}
	return n, nil
}
