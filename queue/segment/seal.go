package segment

import (
	"fmt"
	"io"

	"logmule/queue/vfs"
)

// seal makes the trailer over what was counted, and the pieces that stand between the frames and it.
func (t *tally) seal(h Header, mark uint64, recovered bool) (Trailer, [][]byte) {
	l := layOut(h.Size, t.end)
	index := t.index(l).encode(h.Salt, l)
	trailer := t.trailer(h, l, mark, recovered)
	trailer.Sum = sealSum(h, index)
	return trailer, [][]byte{index, t.parity[:int64(l.groups)*l.block], index}
}

// trailer is the trailer over what was counted, without the hash.
func (t *tally) trailer(h Header, l layout, mark uint64, recovered bool) Trailer {
	return Trailer{
		Header:    h,
		Frames:    t.frames,
		Records:   t.records,
		Last:      t.last,
		Mark:      mark,
		DataEnd:   l.indexA,
		Stripe:    uint32(l.stripe),
		IndexA:    l.indexA,
		Parity:    l.parity,
		IndexB:    l.indexB,
		MinTime:   t.minTime,
		MaxTime:   t.maxTime,
		Recovered: recovered,
	}
}

// writeSeal cuts the file to the size it has when sealed and writes what follows the frames. The size goes first: a
// process that dies in between leaves zeros after the frames, as an active segment has them. The trailer goes last, after
// a sync: where it is, all that it vouches for is.
func writeSeal(f vfs.File, sync func() error, t Trailer, pieces [][]byte) error {
	l := layOut(t.Header.Size, t.DataEnd)
	if err := f.Truncate(l.end); err != nil {
		return err
	}
	if _, err := f.WriteVec(pieces, l.indexA); err != nil {
		return err
	}
	if err := sync(); err != nil {
		return err
	}
	if _, err := f.WriteAt(t.Encode(), l.trailer); err != nil {
		return err
	}
	return sync()
}

// SealRecovered seals a segment that was open when the process or the machine stopped. It reads [0, dataEnd) again,
// counts the good frames in it, and writes index, parity and trailer after dataEnd, over what is there; the caller has
// set aside what must not be lost. h is the header as ReadHeader found it, dataEnd the end of the last frame to keep,
// with its padding: what the file lacks of that it gets first. The bytes before dataEnd stay as they are: what cannot be
// read counts as zeros, and stays damaged. It is durable when it returns, and may be done again after a crash on the way,
// with the same result.
func SealRecovered(f vfs.File, h Header, dataEnd int64, mark uint64) (Trailer, error) {
	if err := h.check(); err != nil {
		return Trailer{}, fmt.Errorf("seal recovered segment %s: %w", h.Name(), err)
	}
	size, err := f.Size()
	if err == nil && (dataEnd < HeaderSize || dataEnd > align(size) || dataEnd > MaxDataEnd || dataEnd%8 != 0) {
		err = fmt.Errorf("frames cannot end at offset %d of %d: %w", dataEnd, size, ErrMalformed)
	}
	if err == nil && dataEnd > size {
		err = f.Truncate(dataEnd)
	}
	if err != nil {
		return Trailer{}, fmt.Errorf("seal recovered segment %s: %w", h.Name(), err)
	}
	t := newTally(h)
	if err := t.recount(f, h.Salt, dataEnd); err != nil {
		return Trailer{}, fmt.Errorf("seal recovered segment %s: %w", h.Name(), err)
	}
	trailer, pieces := t.seal(h, mark, true)
	if err := writeSeal(f, f.Sync, trailer, pieces); err != nil {
		return Trailer{}, fmt.Errorf("seal recovered segment %s: %w", h.Name(), err)
	}
	return trailer, nil
}

// recount counts the frames and the bytes of [0, dataEnd) of a file.
func (t *tally) recount(f io.ReaderAt, salt uint64, dataEnd int64) error {
	if _, err := t.recountFrames(f, salt, dataEnd); err != nil {
		return err
	}
	b := make([]byte, min(window, dataEnd))
	for t.end < dataEnd {
		b = b[:min(int64(len(b)), dataEnd-t.end)]
		n, err := readSparing(f, b, t.end, func(from, to int64, err error) {})
		if err == nil && n < len(b) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		t.bytes(b)
	}
	return nil
}

// recountFrames counts the good frames up to dataEnd and returns the greatest mark of theirs.
func (t *tally) recountFrames(f io.ReaderAt, salt uint64, dataEnd int64) (mark uint64, err error) {
	scan := NewScanner(f, salt, HeaderSize, dataEnd)
	for {
		p, err := scan.Next()
		if err == io.EOF {
			return mark, nil
		}
		if err != nil {
			return mark, err
		}
		if !p.Bad {
			t.frame(p.Header, p.Offset)
			mark = max(mark, p.Header.Mark)
		}
	}
}
