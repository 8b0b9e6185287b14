package segment

import (
	"errors"
	"fmt"
	"path/filepath"

	"logmule/queue/vfs"
)

// MaxDataEnd bounds the end of frames, so that an index can keep offsets in 32 bits.
const MaxDataEnd = 1<<32 - 8

// Writer is an active segment. One goroutine uses it at a time.
type Writer struct {
	file   vfs.File
	path   string
	header Header
	tally  *tally
	limit  int64 // end of frames up to which the sealed file keeps its configured size

	vec    [][]byte // what one Write hands to the file
	broken error    // why the file must not be written any more
}

// Create makes the file of a segment in dir and writes its header. When it returns, header and name are durable. A file
// that it could not finish is removed. h.Salt must be fresh from NewSalt. Errors: ErrMalformed where h breaks a limit, and
// those of the file system.
func Create(fsys vfs.FS, dir string, h Header) (*Writer, error) {
	path := filepath.Join(dir, h.Name().String())
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("create segment %s: %w", path, err)
	}
	f, err := fsys.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	first := h.Encode()
	_, err = f.WriteAt(first, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create segment %s: %w", path, err), f.Close(), fsys.Remove(path))
	}
	w := &Writer{file: f, path: path, header: h, tally: newTally(h), limit: dataLimit(h.Size)}
	w.tally.bytes(first)
	return w, nil
}

// Header is what Create was given.
func (w *Writer) Header() Header { return w.header }

// Name is the name of the file in its directory.
func (w *Writer) Name() Name { return w.header.Name() }

// File is the open file, for readers, and for reserving space ahead of End.
func (w *Writer) File() vfs.File { return w.file }

// End is the end of the frames written so far: the offset of the next one.
func (w *Writer) End() int64 { return w.tally.end }

// Room is how many bytes frames may still take so that the sealed file keeps the configured size. As long as the segment
// holds no records it is at least MaxFrame: the first data frame always fits, whatever that makes of the size.
func (w *Writer) Room() int64 {
	room := w.limit - w.tally.end
	if w.tally.records == 0 {
		room = max(room, MaxFrame)
	}
	return max(room, 0)
}

// Write appends complete frames, bufs[i] holding frames[i], whose headers were Put for the offsets they now get: End and
// what follows. It is one vectored write, and durable only after Sync.
//
// After an error nothing is counted: End stays, what the file holds from there on is undefined, and the same offsets may
// be written again. ErrMalformed where a frame is not what its header says, before anything is written.
func (w *Writer) Write(frames []FrameHeader, bufs [][]byte) error {
	if w.broken != nil {
		return w.broken
	}
	if err := w.verify(frames, bufs); err != nil {
		return fmt.Errorf("write frames to segment %s: %w", w.path, err)
	}
	// WriteVec may change the elements it is given, and they are still needed.
	w.vec = append(w.vec[:0], bufs...)
	_, err := w.file.WriteVec(w.vec, w.tally.end)
	clear(w.vec)
	if err != nil {
		return fmt.Errorf("write frames to segment %s at offset %d: %w", w.path, w.tally.end, err)
	}
	for i := range frames {
		w.tally.frame(frames[i], w.tally.end)
		w.tally.bytes(bufs[i])
	}
	return nil
}

// verify holds every header against the bytes it stands in: a frame with a wrong offset or salt would be durable and unreadable.
func (w *Writer) verify(frames []FrameHeader, bufs [][]byte) error {
	if len(frames) != len(bufs) {
		return fmt.Errorf("%d headers for %d frames: %w", len(frames), len(bufs), ErrMalformed)
	}
	offset := w.tally.end
	for i, b := range bufs {
		h, err := DecodeFrameHeader(b, w.header.Salt, offset)
		if err != nil {
			return fmt.Errorf("frame %d of %d: %w", i+1, len(bufs), err)
		}
		if h != frames[i] || int64(len(b)) != h.Size() {
			return fmt.Errorf("frame %d of %d is not the one announced: %w", i+1, len(bufs), ErrMalformed)
		}
		offset += h.Size()
	}
	if offset > MaxDataEnd {
		return fmt.Errorf("frames would end at offset %d, above %d: %w", offset, int64(MaxDataEnd), ErrMalformed)
	}
	return nil
}

// Sync makes everything written durable. After an error it is unknown what is, now and later: the Writer answers every
// later Write, Sync and Seal with that error, and what is not known to be durable belongs into a new segment.
func (w *Writer) Sync() error {
	if w.broken != nil {
		return w.broken
	}
	if err := w.file.Sync(); err != nil {
		w.broken = fmt.Errorf("sync segment %s: %w", w.path, err)
		return w.broken
	}
	return nil
}

// Broken says whether the Writer is of no more use: a sync has failed, or the segment is sealed.
func (w *Writer) Broken() bool { return w.broken != nil }

// Seal ends the segment: it cuts the file to its exact size, writes index and parity, syncs, writes the trailer, which
// vouches for everything before it, and syncs again. mark is the durable mark at that moment. Afterwards only Close is
// allowed. After an error other than a failed sync it may be tried again.
func (w *Writer) Seal(mark uint64) (Trailer, error) {
	if w.broken != nil {
		return Trailer{}, w.broken
	}
	t, pieces := w.tally.seal(w.header, mark, false)
	if err := writeSeal(w.file, w.Sync, t, pieces); err != nil {
		return Trailer{}, fmt.Errorf("seal segment %s: %w", w.path, err)
	}
	w.broken = fmt.Errorf("segment %s is sealed", w.path)
	return t, nil
}

// Close closes the file, sealed or not, without syncing it.
func (w *Writer) Close() error {
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("close segment: %w", err)
	}
	return nil
}
