package segment

import (
	"bytes"
	"hash/crc32"
	"testing"

	"github.com/golang/snappy"
)

// benchRun is a full frame of log lines.
func benchRun() []Run {
	body := text(1, FrameTarget)
	return []Run{{Form: Lines, Count: uint32(bytes.Count(body, []byte("\n"))), Raw: FrameTarget, Key: []byte("in/app"), Body: body}}
}

func eachCodec(b *testing.B, run func(b *testing.B, codec Codec)) {
	for name, codec := range map[string]Codec{"none": None, "snappy": Snappy} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(FrameTarget)
			b.ReportAllocs()
			run(b, codec)
		})
	}
}

func BenchmarkEncodeFrame(b *testing.B) {
	runs := benchRun()
	dst := make([]byte, 0, FrameBound(runs, FrameTarget))
	eachCodec(b, func(b *testing.B, codec Codec) {
		for b.Loop() {
			h := FrameHeader{Type: Data, First: 1}
			dst = EncodeFrame(dst, &h, runs, runs[0].Body, codec)
			h.Put(dst, imageSalt, HeaderSize)
		}
	})
}

func BenchmarkDecodeFrame(b *testing.B) {
	runs := benchRun()
	eachCodec(b, func(b *testing.B, codec Codec) {
		h, buf := dataFrame(1, 1, codec, runs...)
		h.Put(buf, imageSalt, HeaderSize)
		var f Frame
		for b.Loop() {
			h, err := DecodeFrameHeader(buf, imageSalt, HeaderSize)
			payload := buf[FrameHeaderSize : FrameHeaderSize+h.payload()]
			if err != nil || !VerifyPayload(h, payload) || f.Decode(h, HeaderSize, payload) != nil {
				b.Fatal("the frame is bad")
			}
		}
	})
}

// BenchmarkTally is what Writer.Write does beside the system call.
func BenchmarkTally(b *testing.B) {
	body := text(1, FrameTarget)
	h := testHeader()
	h.Size = 64 << 20
	t := newTally(h)
	b.SetBytes(FrameTarget)
	b.ReportAllocs()
	for b.Loop() {
		if t.end+FrameTarget > int64(h.Size) {
			t.end = 0
		}
		t.bytes(body)
	}
}

func BenchmarkWrite(b *testing.B) {
	runs := benchRun()
	h := testHeader()
	h.Size = 64 << 20
	eachCodec(b, func(b *testing.B, codec Codec) {
		w := newWriter(b, h)
		fh, buf := dataFrame(h.First, 1, codec, runs...)
		frames, bufs := []FrameHeader{fh}, [][]byte{buf}
		for b.Loop() {
			if w.Room() < fh.Size() { // the same space again: the disk is not what is measured
				w.tally = newTally(h)
				w.tally.end = HeaderSize
			}
			fh.Put(buf, h.Salt, w.End())
			if err := w.Write(frames, bufs); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkScan(b *testing.B) {
	m := newImage()
	for len(m.b) < 32<<20 {
		m.add(text(m.next, FrameTarget))
	}
	b.SetBytes(int64(len(m.b)))
	for b.Loop() {
		s := NewScanner(bytes.NewReader(m.b), imageSalt, HeaderSize, int64(len(m.b)))
		for range m.offsets {
			if p, err := s.Next(); err != nil || p.Bad {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkScanDamage is the search for the next frame.
func BenchmarkScanDamage(b *testing.B) {
	bad := noise(1, 32<<20)
	b.SetBytes(int64(len(bad)))
	for b.Loop() {
		if p, err := NewScanner(bytes.NewReader(bad), imageSalt, 0, int64(len(bad))).Next(); err != nil || p.Size != int64(len(bad)) {
			b.Fatal(err)
		}
	}
}

// BenchmarkLimits is what the machine itself does with a frame.
func BenchmarkLimits(b *testing.B) {
	body := text(1, FrameTarget)
	dst := make([]byte, snappy.MaxEncodedLen(FrameTarget))
	packed := snappy.Encode(nil, body)
	for name, run := range map[string]func(){
		"copy":          func() { copy(dst, body) },
		"crc32c":        func() { crc32.Checksum(body, crcTable) },
		"snappy-encode": func() { snappy.Encode(dst, body) },
		"snappy-decode": func() {
			if _, err := snappy.Decode(dst, packed); err != nil {
				b.Fatal(err)
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(FrameTarget)
			for b.Loop() {
				run()
			}
		})
	}
}
