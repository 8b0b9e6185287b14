package hekaqueue

import (
	"errors"
	"io"

	"logmule/queue/vfs"
)

const (
	// readStep is how much is read at once.
	readStep = 1 << 20
	// badBlock is the grain in which the readable is separated from what a disk does not give back.
	badBlock = 4096
)

// window shows a part of a file that moves forward over it.
type window struct {
	file vfs.File
	buf  []byte // the bytes of the file from base on
	base int64
	end  int64 // what is beyond cannot be seen: the end of the file, or a part of it that cannot be read

	hole error // why the file cannot be read at end; nil: it is the end of the file
}

// open makes the window one over a file, at its beginning, with the memory that it has.
func (w *window) open(f vfs.File, size int64) {
	*w = window{file: f, buf: w.buf[:0], end: size}
}

// behind moves the window behind what cannot be read, and says where it goes on.
func (w *window) behind(size int64) int64 {
	next := min(w.end/badBlock*badBlock+badBlock, size)
	w.buf, w.base, w.end, w.hole = w.buf[:0], next, size, nil
	return next
}

// at shows the file from offset on: at least n bytes, or all that there are up to end. Bytes before offset are gone then.
func (w *window) at(offset int64, n int) []byte {
	have := w.buf[min(offset-w.base, int64(len(w.buf))):]
	if len(have) >= n || offset+int64(len(have)) >= w.end {
		return have
	}
	want := int(min(int64(max(n, readStep)), w.end-offset))
	if cap(w.buf) < want {
		w.buf = append(make([]byte, 0, want), have...)
	} else {
		w.buf = w.buf[:copy(w.buf[:cap(w.buf)], have)]
	}
	w.base = offset
	w.fill(want)
	return w.buf
}

// fill reads until the window holds want bytes, or has met what cannot be read.
func (w *window) fill(want int) {
	have := len(w.buf)
	n, err := w.file.ReadAt(w.buf[have:want], w.base+int64(have))
	w.buf = w.buf[:have+n]
	for err != nil && len(w.buf) < want {
		at := w.base + int64(len(w.buf))
		if errors.Is(err, io.EOF) {
			w.end = at // it has shrunk
			return
		}
		// The disk does not say which of the bytes it cannot give: they are asked for block by block.
		step := min(int(at/badBlock*badBlock+badBlock-at), want-len(w.buf))
		n, again := w.file.ReadAt(w.buf[len(w.buf):len(w.buf)+step], at)
		w.buf = w.buf[:len(w.buf)+n]
		if n < step && again != nil && !errors.Is(again, io.EOF) {
			w.end, w.hole = at+int64(n), again
			return
		}
		if n < step {
			err = io.EOF
		}
	}
}

// release gives up memory that one large frame has needed.
func (w *window) release() {
	if cap(w.buf) > 4*readStep {
		w.buf = nil
	}
}
