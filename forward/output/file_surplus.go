package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// What a file has beyond the mark after a crash are lines that come again, since nobody knew that they were written, or the
// first part of them; or somebody else has appended to the file meanwhile. Only the records that come say which: what is
// theirs stays where it is, and counts as written when it is synced. From the first byte on that is not theirs the rest
// goes into a file beside, since it may be somebody's, and is cut off.

const compareBlock = 64 << 10

// expected are the bytes of the pending records of the parts, as they are written.
func (o *file) expected(b *Batch, parts []span) []byte {
	var all []byte
	if o.torn {
		all = append(all, newline...)
	}
	for _, p := range parts {
		o.lines = b.appendFramed(o.lines[:0], p.from, p.to, &o.format)
		all = append(all, bytes.Join(o.lines, nil)...)
	}
	return all
}

// reconcile compares what stands beyond the mark with what is to be written there. Where all of that is there already it is made
// durable, and the mark moves behind it. Else the file ends at the mark when reconcile returns false.
func (o *file) reconcile(ctx context.Context, want []byte) (there bool, err error) {
	have := make([]byte, min(int64(len(want)), o.ahead))
	if _, err := o.f.ReadAt(have, o.mark.size); err != nil {
		return false, fmt.Errorf("read what a crash has left: %w", err)
	}
	same := 0
	for same < len(have) && have[same] == want[same] {
		same++
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if same == len(want) {
		if err := o.writeOver(want); err != nil {
			return false, err
		}
		o.mark.size, o.ahead, o.torn = o.mark.size+int64(same), o.ahead-int64(same), false
		return true, nil
	}
	ours, err := o.onlyZeros(o.mark.size+int64(same), o.mark.size+o.ahead)
	if err != nil {
		return false, err
	}
	if !ours {
		if err := o.keepSurplus(int64(bytes.LastIndexByte(want[:same], '\n') + 1)); err != nil {
			return false, err
		}
	}
	return false, o.cutSurplus()
}

// writeOver writes the same bytes once more over what stands behind the mark: a sync that failed before may have left them in
// memory only, and another one would not write them.
func (o *file) writeOver(want []byte) error {
	f, err := os.OpenFile(o.mark.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = o.sameFile(f)
	if err == nil {
		_, err = f.Seek(o.mark.size, io.SeekStart)
	}
	if err == nil {
		_, err = o.ops.write(f, want)
	}
	if err == nil {
		err = o.ops.sync(f)
	}
	return errors.Join(err, f.Close())
}

func (o *file) sameFile(f *os.File) error {
	a, err := o.f.Stat()
	if err != nil {
		return err
	}
	b, err := f.Stat()
	if err == nil && !os.SameFile(a, b) {
		err = errors.New("it was replaced in this moment")
	}
	return err
}

// onlyZeros tells whether there is nothing else in a range, as where a power loss took bytes and left the size. So it is with
// an empty range.
func (o *file) onlyZeros(from, to int64) (bool, error) {
	block := make([]byte, min(compareBlock, to-from))
	for from < to {
		n, err := o.f.ReadAt(block[:min(int64(len(block)), to-from)], from)
		if err != nil && (err != io.EOF || n == 0) {
			return false, fmt.Errorf("read what a crash has left: %w", err)
		}
		if len(bytes.TrimLeft(block[:n], "\x00")) > 0 {
			return false, nil
		}
		from += int64(n)
	}
	return true, nil
}

// keepSurplus copies what stands beyond the mark, but for its first bytes, into a file beside, durably.
func (o *file) keepSurplus(skip int64) error {
	from := o.mark.size + skip
	surplus := io.NewSectionReader(o.f, from, o.mark.size+o.ahead-from)
	name := o.mark.path + ".surplus-" + strconv.FormatInt(from, 10)
	for n := 1; ; n++ {
		beside := name
		if n > 1 {
			beside += "." + strconv.Itoa(n)
		}
		same, err := sameContent(beside, surplus)
		switch {
		case err == nil && !same:
			continue
		case errors.Is(err, fs.ErrNotExist):
			err = copyTo(beside, surplus)
		}
		if err != nil {
			return fmt.Errorf("keep bytes at its end that this output did not write in %s: %w; let this user write there", beside, err)
		}
		o.env.Log.Error("the file has bytes at its end that this output did not write, or has not written whole: they are kept in a file beside, and what this output writes goes on without them",
			"output", o.env.Name, "path", o.mark.path, "bytes", surplus.Size(), "kept", beside)
		o.kept = surplus.Size()
		return nil
	}
}

// cutSurplus cuts the file off at the mark.
func (o *file) cutSurplus() error {
	if err := o.cut(o.f, o.mark.size); err != nil {
		return fmt.Errorf("cut it to %d bytes, what is beyond is written again or kept: %w", o.mark.size, err)
	}
	if again := o.ahead - o.kept; again > 0 {
		o.env.Log.Info("cut off the end of the file, it is written again", "output", o.env.Name, "path", o.mark.path, "bytes", again)
		o.env.Counters.CutBytes.Add(uint64(again))
	}
	o.ahead, o.kept = 0, 0
	return nil
}

// leave settles what stands beyond the mark before another file is opened: the lines that may come for it later are written
// then.
func (o *file) leave() error {
	if o.f == nil || o.ahead == 0 {
		return nil
	}
	if err := o.keepSurplus(0); err != nil {
		return err
	}
	return o.cutSurplus()
}

// sameContent tells whether a file has these bytes, and makes sure that they are durable then.
func sameContent(name string, want *io.SectionReader) (bool, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() != want.Size() {
		return false, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	a, b := make([]byte, compareBlock), make([]byte, compareBlock)
	for at := int64(0); err == nil && at < want.Size(); at += compareBlock {
		n := min(compareBlock, want.Size()-at)
		if _, err = io.ReadFull(io.NewSectionReader(f, at, n), a[:n]); err == nil {
			_, err = io.ReadFull(io.NewSectionReader(want, at, n), b[:n])
		}
		if err == nil && !bytes.Equal(a[:n], b[:n]) {
			return false, f.Close()
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return true, errors.Join(err, f.Close())
}

func copyTo(name string, from *io.SectionReader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.NewSectionReader(from, 0, from.Size()))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		return syncDir(filepath.Dir(name))
	}
	return errors.Join(err, os.Remove(name))
}
