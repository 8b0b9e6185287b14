package segment

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"testing"

	"logmule/queue/vfs"
)

func TestWriteRefusesWhatCannotBeRead(t *testing.T) {
	w := newWriter(t, testHeader())
	salt := w.Header().Salt
	build := func(salt uint64, offset int64) (FrameHeader, []byte) {
		h, b := dataFrame(1000, 1, None, lines("a", "x"))
		h.Put(b, salt, offset)
		return h, b
	}
	h, b := build(salt, HeaderSize)
	other := h
	other.First++
	wrongOffset, wb := build(salt, HeaderSize+8)
	wrongSalt, sb := build(salt+1, HeaderSize)
	for name, c := range map[string]struct {
		frames []FrameHeader
		bufs   [][]byte
	}{
		"offset":           {[]FrameHeader{wrongOffset}, [][]byte{wb}},
		"salt":             {[]FrameHeader{wrongSalt}, [][]byte{sb}},
		"not announced":    {[]FrameHeader{other}, [][]byte{b}},
		"padding missing":  {[]FrameHeader{h}, [][]byte{b[:len(b)-8]}},
		"too long":         {[]FrameHeader{h}, [][]byte{append(bytes.Clone(b), make([]byte, 8)...)}},
		"header only":      {[]FrameHeader{h}, nil},
		"twice one offset": {[]FrameHeader{h, h}, [][]byte{b, b}},
	} {
		if err := w.Write(c.frames, c.bufs); err == nil || w.End() != HeaderSize {
			t.Errorf("%s: %v, end %d", name, err, w.End())
		}
	}
	if size, _ := w.File().Size(); size != HeaderSize {
		t.Errorf("%d bytes were written", size)
	}
	if err := w.Write([]FrameHeader{h}, [][]byte{b}); err != nil {
		t.Error(err)
	}
}

// flaky is a file that fails on demand.
type flaky struct {
	vfs.File
	write, sync, truncate error
}

func (f *flaky) WriteVec(bufs [][]byte, offset int64) (int64, error) {
	if f.write != nil {
		n, _ := f.WriteAt(bufs[0][:1], offset) // a short write
		return int64(n), f.write
	}
	n, err := f.File.WriteVec(bufs, offset)
	clear(bufs) // as WriteVec is allowed to
	return n, err
}

func (f *flaky) Sync() error {
	if f.sync != nil {
		return f.sync
	}
	return f.File.Sync()
}

func (f *flaky) Truncate(size int64) error {
	if f.truncate != nil {
		return f.truncate
	}
	return f.File.Truncate(size)
}

var errDisk = errors.New("disk on fire")

func TestFailedWriteMayBeRepeated(t *testing.T) {
	w := newWriter(t, testHeader())
	f := &flaky{File: w.file, write: errDisk}
	w.file = f
	h, b := dataFrame(1000, 1, None, blob(1, 500))
	h.Put(b, w.Header().Salt, w.End())
	frames, bufs := []FrameHeader{h}, [][]byte{b}
	if err := w.Write(frames, bufs); !errors.Is(err, errDisk) || w.End() != HeaderSize {
		t.Fatalf("%v, end %d", err, w.End())
	}
	f.write = nil
	if err := w.Write(frames, bufs); err != nil || bufs[0] == nil {
		t.Fatalf("%v; the caller's buffers: %v", err, bufs)
	}
	f.truncate = errDisk
	if _, err := w.Seal(1000); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	f.truncate = nil
	tr, err := w.Seal(1000)
	if err != nil || tr.Frames != 1 {
		t.Fatalf("%+v, %v", tr, err)
	}
	x, err := ReadIndex(w.File(), tr)
	if err != nil {
		t.Fatal(err)
	}
	if bad, err := badStripes(w.File(), tr, x); err != nil || bad != nil {
		t.Errorf("bad stripes %v, %v", bad, err)
	}
}

func TestFailedSyncIsFinal(t *testing.T) {
	for _, seal := range []bool{false, true} {
		w := newWriter(t, testHeader())
		f := &flaky{File: w.file}
		w.file = f
		h, b := dataFrame(1000, 1, None, blob(1, 500))
		writeFrame(t, w, &h, b)
		f.sync = errDisk
		var err error
		if seal {
			_, err = w.Seal(1)
		} else {
			err = w.Sync()
		}
		if !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		f.sync = nil
		_, serr := w.Seal(1)
		if !errors.Is(w.Sync(), errDisk) || !errors.Is(w.Write(nil, nil), errDisk) || !errors.Is(serr, errDisk) {
			t.Error("the file is used again after a failed sync")
		}
		size, _ := w.File().Size()
		if _, err := ReadTrailer(w.File(), size); !errors.Is(err, ErrNoTrailer) {
			t.Errorf("a trailer stands after frames that may not be durable: %v", err)
		}
	}
}

// flakyFS fails to sync a directory or hands out flaky files.
type flakyFS struct {
	vfs.FS
	file flaky
	dir  error
}

func (s *flakyFS) Create(name string) (vfs.File, error) {
	f, err := s.FS.Create(name)
	if err != nil {
		return nil, err
	}
	s.file.File = f
	return &s.file, nil
}

func (s *flakyFS) SyncDir(name string) error {
	if s.dir != nil {
		return s.dir
	}
	return s.FS.SyncDir(name)
}

func TestCreateLeavesNothingBehind(t *testing.T) {
	for name, fsys := range map[string]*flakyFS{
		"sync":      {FS: vfs.OS(), file: flaky{sync: errDisk}},
		"directory": {FS: vfs.OS(), dir: errDisk},
	} {
		dir := t.TempDir()
		if _, err := Create(fsys, dir, testHeader()); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", name, err)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
			t.Errorf("%s: left %v, %v", name, names, err)
		}
	}
	dir := t.TempDir()
	w, err := Create(vfs.OS(), dir, testHeader())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := Create(vfs.OS(), dir, testHeader()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second segment of that name: %v", err)
	}
	if got, err := ReadHeader(w.File(), HeaderSize, w.Name()); err != nil || got != testHeader() {
		t.Errorf("%+v, %v", got, err)
	}
	bad := testHeader()
	bad.First = 0
	if _, err := Create(vfs.OS(), dir, bad); !errors.Is(err, ErrMalformed) {
		t.Errorf("first sequence 0: %v", err)
	}
}
