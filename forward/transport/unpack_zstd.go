package transport

import (
	"errors"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// zstdBlock is the most content of a block, in bytes.
const zstdBlock = 128 << 10

// unpackZstd takes frames of zstd apart. The content is its own window, so that none has to be held. A decoder whose room
// ends within a block may take more for a moment, a quarter of the content at most.
func (u *Unpacker) unpackZstd(dst, body []byte) (int, error) {
	d, ok := u.zstd.Get().(*zstd.Decoder)
	if !ok {
		var err error
		d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return 0, err
		}
	}
	defer u.zstd.Put(d)
	content, err := d.DecodeAll(body, dst[:0:len(dst)])
	if err == nil && len(content) <= len(dst) {
		return len(content), nil
	}
	if err == nil || errors.Is(err, zstd.ErrDecoderSizeExceeded) || len(dst)-len(content) < zstdBlock && noRoom(err) {
		err = ErrRoom
	}
	return 0, err
}

// noRoom knows an error of the decoder that has no name: the room ended within a block, or the block is longer than any.
func noRoom(err error) bool {
	return strings.HasPrefix(err.Error(), "output bigger than max block size")
}

// zstdSize says how many bytes of content frames of zstd have, going by their headers; false where those make no sense. A
// frame that does not say how many is taken to be full of whole blocks, but not of more than looks usual.
func zstdSize(body []byte) (size uint64, ok bool) {
	usual := uint64(32*len(body) + zstdBlock)
	for len(body) > 0 {
		var head zstd.Header
		if head.Decode(body) != nil || head.HeaderSize > len(body) {
			return 0, false
		}
		body = body[head.HeaderSize:]
		if head.Skippable {
			if uint64(head.SkippableSize) > uint64(len(body)) {
				return 0, false
			}
			body = body[head.SkippableSize:]
			continue
		}
		blocks, rest := zstdBlocks(body)
		if rest == nil || head.HasCheckSum && len(rest) < 4 {
			return 0, false
		}
		if head.HasCheckSum {
			rest = rest[4:]
		}
		if head.HasFCS {
			size += min(blocks, head.FrameContentSize)
		} else {
			size += min(blocks, usual)
		}
		body = rest
	}
	return size, true
}

// zstdBlocks adds up the blocks of a frame and returns what follows the last one, nil where that is missing.
//
//	| last: 1 bit | type: 2 | size: 21 | content, or the byte of which size are meant |
func zstdBlocks(body []byte) (size uint64, rest []byte) {
	for len(body) >= 3 {
		head := uint32(body[0]) | uint32(body[1])<<8 | uint32(body[2])<<16
		stored, content := int(head>>3), uint64(head>>3)
		switch head >> 1 & 3 {
		case 1: // one byte, repeated
			stored = 1
		case 2: // compressed
			content = zstdBlock
		}
		body = body[3:]
		if stored > len(body) {
			return 0, nil
		}
		size, body = size+content, body[stored:]
		if head&1 != 0 {
			return size, body
		}
	}
	return 0, nil
}
