package segment

import "io"

// Remains calls fn with the headers of data frames that are still good in bad bytes: they tell when their records came, and
// meta, the table of runs behind a header, whose they were. meta is nil where it is destroyed too; nothing but its
// agreement with the header vouches for it, since its checksum covers the body, and it is valid until fn returns. Bytes
// that f cannot give are passed over.
func Remains(f io.ReaderAt, salt uint64, bad Span, fn func(h FrameHeader, meta []byte)) {
	const step = 1 << 20
	b := make([]byte, step+FrameHeaderSize)
	for base := bad.Offset &^ 7; base < bad.End(); base += step {
		n, _ := f.ReadAt(b, base)
		for at := 0; at < step && at+FrameHeaderSize <= n && base+int64(at) < bad.End(); at += 8 {
			h, err := DecodeFrameHeader(b[at:], salt, base+int64(at))
			if err != nil || h.Type != Data {
				continue
			}
			meta := make([]byte, h.Meta)
			if n, _ := f.ReadAt(meta, base+int64(at)+FrameHeaderSize); n < len(meta) || !describes(meta, h) {
				meta = nil
			}
			fn(h, meta)
		}
	}
}

// describes tells whether a table of runs agrees with its header.
func describes(meta []byte, h FrameHeader) bool {
	runs, err := DecodeMeta(meta, nil)
	var count, raw uint64
	for _, r := range runs {
		count += uint64(r.Count)
		raw += uint64(r.Raw)
	}
	return err == nil && count == uint64(h.Count) && raw == uint64(h.Raw)
}
