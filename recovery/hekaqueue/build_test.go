package hekaqueue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"logmule/queue/vfs"
)

// attribute appends a protobuf field of bytes.
func attribute(dst []byte, num uint64, value string) []byte {
	dst = binary.AppendUvarint(dst, num<<3|bytesType)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

func number(dst []byte, num, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, num<<3|varintType), value)
}

// frame puts a message, or anything else, into a frame as Heka does.
func frame(message []byte) []byte {
	header := number(nil, 1, uint64(len(message)))
	return append(append([]byte{frameStart, byte(len(header))}, append(header, headerEnd)...), message...)
}

// signed is frame with a signature in the header.
func signed(message []byte) []byte {
	header := number(number(nil, 1, uint64(len(message))), 3, 1)
	header = attribute(number(attribute(header, 4, "ops"), 5, 2), 6, strings.Repeat("d", 20))
	return append(append([]byte{frameStart, byte(len(header))}, append(header, headerEnd)...), message...)
}

func uuidOf(n int) string { return fmt.Sprintf("%016x", uint64(n+1)*0x9e3779b97f4a7c15) }

// message is a small one.
func message(n int, payload string) []byte {
	return attribute(number(attribute(nil, 1, uuidOf(n)), 2, 1700000000000000000+uint64(n)), 6, payload)
}

// messageOf is one with a random choice of all that a message can have.
func messageOf(rng *rand.Rand, n int) []byte {
	m := number(attribute(nil, 1, uuidOf(n)), 2, 1700000000000000000+uint64(n))
	m = attribute(m, 3, "type")
	if rng.IntN(2) == 0 {
		m = attribute(m, 4, "logger")
		m = number(m, 5, uint64(rng.IntN(8)))
	}
	words := []string{"GET", "/index.html", "\x1e\x02\x08\x01\x1f", "error", "\x1f", "ä", "200"}
	var payload strings.Builder
	fmt.Fprintf(&payload, "record %d", n)
	for range rng.IntN(30) {
		payload.WriteString(" " + words[rng.IntN(len(words))])
	}
	m = attribute(m, 6, payload.String())
	if rng.IntN(3) == 0 {
		m = attribute(m, 7, "1.2")
		m = number(m, 8, uint64(uint32(rng.IntN(1<<16)-100)))
	}
	m = attribute(m, 9, "host.example")
	for i := range rng.IntN(3) {
		m = attribute(m, 10, string(fieldOf(uint64(rng.IntN(5)), fmt.Sprintf("f%d", i))))
	}
	return m
}

// fieldOf is a field with two values of a type.
func fieldOf(kind uint64, name string) []byte {
	f := number(attribute(nil, 1, name), 2, kind)
	switch kind {
	case 0, 1:
		return attribute(attribute(f, 4+kind, "one"), 4+kind, "")
	case 2:
		return attribute(attribute(f, 3, "count"), 6, string(binary.AppendUvarint(binary.AppendUvarint(nil, 7), 1<<63)))
	case 3:
		return attribute(f, 7, "12345678abcdefgh")
	default:
		return number(number(f, 8, 1), 8, 0)
	}
}

// build writes a queue directory.
func build(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "relay")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// inMemory is a file system that holds one directory of files, to read.
type inMemory struct {
	vfs.FS
	files map[string][]byte
}

func (m inMemory) ReadDir(string) ([]fs.FileInfo, error) {
	all := make(fstest.MapFS)
	for name, content := range m.files {
		all[name] = &fstest.MapFile{Data: content}
	}
	entries, err := all.ReadDir(".")
	infos := make([]fs.FileInfo, len(entries))
	for i, e := range entries {
		infos[i], _ = e.Info()
	}
	return infos, err
}

func (m inMemory) Open(name string) (vfs.File, error) {
	content, ok := m.files[filepath.Base(name)]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return memoryFile{Reader: bytes.NewReader(content)}, nil
}

type memoryFile struct {
	vfs.File
	*bytes.Reader
}

func (f memoryFile) ReadAt(b []byte, offset int64) (int, error) { return f.Reader.ReadAt(b, offset) }
func (f memoryFile) Size() (int64, error)                       { return f.Reader.Size(), nil }
func (f memoryFile) Close() error                               { return nil }

// scanBytes scans one file.
func scanBytes(t testing.TB, content []byte) seen {
	t.Helper()
	return scan(t, inMemory{files: map[string][]byte{"0.log": content}}, "relay")
}

// seen is what a scan has found.
type seen struct {
	queue   *Queue
	records []Record // with bytes of their own
	skips   []Skip
	files   []FileReport
	report  Report
}

func scan(t testing.TB, fsys vfs.FS, path string) seen {
	t.Helper()
	q, err := Open(t.Context(), fsys, path)
	if err != nil {
		t.Fatal(err)
	}
	s := seen{queue: q}
	s.report, err = q.Scan(t.Context(), Visitor{
		Record: func(r *Record) error {
			own := *r
			own.Frame, own.Message = append([]byte(nil), r.Frame...), append([]byte(nil), r.Message...)
			s.records = append(s.records, own)
			return nil
		},
		Skipped: func(k Skip) { s.skips = append(s.skips, k) },
		File:    func(f FileReport) { s.files = append(s.files, f) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// payloads lists "class payload" of records that are not delivered, or "class message" of those of 0.9.
func (s *seen) payloads() (all []string) {
	for _, r := range s.records {
		if r.Delivered {
			continue
		}
		text := string(r.Message)
		if !r.Plain {
			text = payloadOf(r.Message)
		}
		all = append(all, []string{"intact", "probable", "suspect"}[r.Class]+" "+text)
	}
	return all
}

// payloadOf finds attribute 6.
func payloadOf(m []byte) string {
	for len(m) > 0 {
		tag, n := uvarint(m)
		value, _, size, _ := cutValue(m[n:], len(m)-n, tag&7)
		if tag>>3 == 6 {
			return string(value)
		}
		m = m[n+size:]
	}
	return ""
}
