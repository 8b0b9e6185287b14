package segment

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"logmule/queue/vfs"
)

var update = flag.Bool("update", false, "write testdata/v1.seg anew; only before version 1 is released")

const goldenFile = "testdata/v1.seg"

// goldenFrames are the frames of the golden file, each with what it shows.
func goldenFrames() (headers []FrameHeader, bufs [][]byte, what []string) {
	add := func(h FrameHeader, codec Codec, runs []Run, body []byte, text string) {
		h.Time = 1700000001000000000 + int64(len(headers))*1000000
		bufs = append(bufs, EncodeFrame(nil, &h, runs, body, codec))
		headers, what = append(headers, h), append(what, text)
	}
	positions := func(p Positions) []byte { return AppendPositions(nil, p) }

	add(FrameHeader{Type: PositionsFrame, First: 1000, Mark: 999}, None, nil,
		positions(Positions{Full: true, Part: 0, Parts: 2, Pairs: []Pair{{"out/hq", []byte{1, 2, 3}}, {"in/app", []byte{}}}}), "full set, part 0 of 2")
	add(FrameHeader{Type: PositionsFrame, First: 1000, Mark: 999}, None, nil,
		positions(Positions{Full: true, Part: 1, Parts: 2, Pairs: []Pair{{"in/old", []byte("inode 7")}}}), "full set, part 1 of 2")
	app := Run{Form: Lines, Count: 4, Key: []byte("in/app"), Position: []byte("offset 39"),
		Attributes: []byte("\x1a\x03app"), Body: []byte("hello\nCR is kept\r\n\nLF is the end of it\n")}
	app.Raw = uint32(len(app.Body))
	raw := Run{Form: Records, Count: 2, Raw: 8, Attributes: []byte("\x1a\x03raw"), Body: []byte("\x032\x01a\x032\x01b")}
	add(FrameHeader{Type: Data, First: 1000, Mark: 999}, Snappy, []Run{app, raw}, append(bytes.Clone(app.Body), raw.Body...),
		"two runs: 4 lines with a source position, 2 records without")
	text := Run{Form: Lines, Count: 64, Key: []byte("in/app"), Position: []byte("offset 1319"), Body: bytes.Repeat([]byte("the same line again\n"), 64)}
	text.Raw = uint32(len(text.Body))
	add(FrameHeader{Type: Data, First: 1006, Mark: 1005}, Snappy, []Run{text}, text.Body, "64 lines, compressed")
	add(FrameHeader{Type: Gap, First: 1070, Count: 30, Mark: 1069}, None, nil, []byte("when_full = drop_newest"), "30 sequences were dropped")
	add(FrameHeader{Type: PositionsFrame, First: 1100, Mark: 1099}, None, nil,
		positions(Positions{Pairs: []Pair{{"out/hq", []byte{9}}, {"in/old", nil}}}), "one changed, one removed")
	add(FrameHeader{Type: Marker, First: 1100, Mark: 1099}, None, nil, nil, "idle")
	add(FrameHeader{Type: Close, First: 1100, Mark: 1099}, None, nil, nil, "clean stop")
	return headers, bufs, what
}

// The golden file is what this code writes. A change that makes this test fail makes queues in the field unreadable.
func TestGoldenFileIsWritten(t *testing.T) {
	w := newWriter(t, testHeader())
	headers, bufs, _ := goldenFrames()
	for i := range headers {
		writeFrame(t, w, &headers[i], bufs[i])
	}
	if _, err := w.Seal(1099); err != nil {
		t.Fatal(err)
	}
	got := content(t, w)
	if *update {
		if err := os.MkdirAll(filepath.Dir(goldenFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%d bytes written, the golden file has %d; they differ from byte %d on", len(got), len(want), at)
	}
}

func TestGoldenFileIsRead(t *testing.T) {
	f, err := vfs.OS().Open(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	if h, err := ReadHeader(f, size, testHeader().Name()); err != nil || h != testHeader() {
		t.Errorf("header %+v, %v", h, err)
	}
	tr, err := ReadTrailer(f, size)
	if err != nil {
		t.Fatal(err)
	}
	if tr.Header != testHeader() || tr.Frames != 8 || tr.Records != 70 || tr.Last != 1099 || tr.Mark != 1099 || tr.Recovered ||
		tr.MinTime != 1700000001002000000 || tr.MaxTime != 1700000001003000000 || tr.Stripe != 64 {
		t.Errorf("trailer %+v", tr)
	}
	checkSeal(t, f, tr)
	headers, bufs, _ := goldenFrames()
	parts := scanAll(t, f, tr.Header.Salt, HeaderSize, tr.DataEnd)
	if len(parts) != len(headers) {
		t.Fatalf("%d parts, want %d", len(parts), len(headers))
	}
	for i, p := range parts {
		if p.Bad || p.Header != headers[i] || !bytes.Equal(p.Payload, bufs[i][FrameHeaderSize:FrameHeaderSize+p.Header.payload()]) {
			t.Errorf("frame %d: %+v", i, p.Header)
		}
	}
	var fr Frame
	p := parts[2]
	if err := fr.Decode(p.Header, p.Offset, p.Payload); err != nil {
		t.Fatal(err)
	}
	if len(fr.Runs) != 2 || string(fr.Runs[0].Body) != "hello\nCR is kept\r\n\nLF is the end of it\n" || string(fr.Runs[0].Position) != "offset 39" ||
		fr.Runs[1].Form != Records || string(fr.Runs[1].Body) != "\x032\x01a\x032\x01b" {
		t.Errorf("runs %+v", fr.Runs)
	}
	p = parts[3]
	if err := fr.Decode(p.Header, p.Offset, p.Payload); err != nil || p.Header.Codec != Snappy || bytes.Count(fr.Body(), []byte("the same line again\n")) != 64 {
		t.Errorf("compressed frame %+v, %v", p.Header, err)
	}
}
