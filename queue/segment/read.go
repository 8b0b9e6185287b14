package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
)

const (
	window    = 1 << 20 // bytes read at a time
	blockSize = 4 << 10 // bytes read at a time where a window cannot be read
)

// unknown tells whether an error is an *UnknownFeatureError.
func unknown(err error) bool {
	var u *UnknownFeatureError
	return errors.As(err, &u)
}

// readFull fills b from offset on. A file that ends before is io.ErrUnexpectedEOF.
func readFull(f io.ReaderAt, b []byte, offset int64) (int, error) {
	n, err := f.ReadAt(b, offset)
	if n == len(b) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// readSparing fills b from offset on as far as the file goes, and returns how far. Where a read fails it goes on in steps
// of one block; a block that cannot be read is zero in b and reported to bad. The only error is that of a closed file.
func readSparing(f io.ReaderAt, b []byte, offset int64, bad func(from, to int64, err error)) (int, error) {
	n, err := readFull(f, b, offset)
	for n < len(b) {
		if err == io.ErrUnexpectedEOF {
			return n, nil
		}
		if errors.Is(err, fs.ErrClosed) {
			return n, err
		}
		at := offset + int64(n)
		step := b[n:min(len(b), n+blockSize-int(at%blockSize))]
		var got int
		got, err = readFull(f, step, at)
		if err != nil && err != io.ErrUnexpectedEOF && !errors.Is(err, fs.ErrClosed) {
			clear(step)
			if o, ok := f.(overlay); ok {
				o.h.lay(step, at) // a block may hold more than one stripe
			}
			bad(at, at+int64(len(step)), err)
			got = len(step)
		}
		n += got
	}
	return n, nil
}

// badPieces cuts [from, to) into pieces of this size and compares each with its checksum. unread are those of the bad ones
// that the disk did not give.
func badPieces(f io.ReaderAt, from, to, size int64, sums []uint32) (bad, unread map[int]bool, err error) {
	if count := (to - from + size - 1) / size; count != int64(len(sums)) {
		return nil, nil, fmt.Errorf("an index of %d for %d: it belongs to another segment: %w", len(sums), count, ErrMalformed)
	}
	b := make([]byte, min(to-from, max(1, window/size)*size))
	bad, unread = make(map[int]bool), make(map[int]bool)
	for at, i := from, 0; at < to; at += int64(len(b)) {
		b = b[:min(int64(len(b)), to-at)]
		n, err := readSparing(f, b, at, func(first, end int64, _ error) {
			for k := (first - from) / size; k <= (end-1-from)/size; k++ {
				bad[int(k)], unread[int(k)] = true, true
			}
		})
		if err != nil {
			return nil, nil, err
		}
		clear(b[n:])
		for piece := b; len(piece) > 0; i++ {
			m := min(size, int64(len(piece)))
			short := at+int64(n) < min(from+int64(i+1)*size, to)
			if short || crc32.Checksum(piece[:m], crcTable) != sums[i] {
				bad[i] = true
			}
			piece = piece[m:]
		}
	}
	return bad, unread, nil
}
