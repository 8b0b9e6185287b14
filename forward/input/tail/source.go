package tail

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Why a file cannot be read on where it was left.
var (
	errMoved   = errors.New("another file has its name")
	errChanged = errors.New("its content is another one")
	errRegular = errors.New("not a regular file")
)

// source is an open file, compressed or not.
type source struct {
	f  *os.File
	gz *inflated
}

// openSource opens the file at path, which has to be the file id. It never waits, whatever the file is.
func openSource(path string, id fileID, compressed bool) (*source, os.FileInfo, error) {
	f, info, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	if idOf(info) != id {
		f.Close()
		return nil, nil, fmt.Errorf("open %s: %w", path, errMoved)
	}
	s := &source{f: f}
	if compressed {
		s.gz = &inflated{f: f}
	}
	return s, info, nil
}

func openRegular(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: %w", path, errRegular)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func idOf(info os.FileInfo) fileID {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(st.Dev), st.Ino}
	}
	return fileID{}
}

func linksOf(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

func (s *source) close() { s.f.Close() }

// readAt is io.ReaderAt: fewer bytes than asked for only together with an error, io.EOF at the end.
func (s *source) readAt(b []byte, offset int64) (int, error) {
	if s.gz != nil {
		return s.gz.readAt(b, offset)
	}
	return s.f.ReadAt(b, offset)
}

// inflated is the decompressed stream of a file. It keeps the bytes from the offset of the last read on, which is where
// the next one begins again; a step further back starts from the beginning.
type inflated struct {
	f    *os.File
	r    *gzip.Reader
	at   int64  // offset in the stream of the bytes that are kept
	kept []byte // read already
	err  error  // what ended the stream
}

func (z *inflated) readAt(b []byte, offset int64) (int, error) {
	if z.r == nil || offset < z.at {
		if err := z.restart(); err != nil {
			return 0, err
		}
	}
	if err := z.skipTo(offset); err != nil {
		return 0, err
	}
	n := copy(b, z.kept)
	if n == len(b) {
		return n, nil
	}
	if z.err != nil {
		return n, z.err
	}
	more, err := io.ReadFull(z.r, b[n:])
	if errors.Is(err, io.ErrUnexpectedEOF) && z.ended() {
		err = io.EOF
	}
	z.kept = append(z.kept, b[n:n+more]...)
	z.err = err
	return n + more, err
}

// ended tells the clean end of the stream, after fewer bytes than were asked for, from a stream that breaks off.
func (z *inflated) ended() bool {
	_, err := z.r.Read(make([]byte, 1))
	return err == io.EOF
}

func (z *inflated) restart() error {
	z.at, z.kept, z.err = 0, z.kept[:0], nil
	if _, err := z.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := gzip.NewReader(z.f)
	if err != nil {
		z.r = nil
		return err
	}
	z.r = r
	return nil
}

// skipTo throws away what is kept before offset, and what follows as far as that.
func (z *inflated) skipTo(offset int64) error {
	n := min(offset-z.at, int64(len(z.kept)))
	z.kept = z.kept[:copy(z.kept, z.kept[n:])]
	z.at += n
	if z.at == offset {
		return nil
	}
	if z.err != nil {
		return z.err
	}
	n, err := io.CopyN(io.Discard, z.r, offset-z.at)
	z.at += n
	if err != nil {
		z.err = err
	}
	return err
}

// incomplete says whether err is that of a compressed file that is still being written, or was cut.
func incomplete(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
