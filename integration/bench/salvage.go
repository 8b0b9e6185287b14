package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// salvageFile is how large a file of the Heka queue is.
const salvageFile = 128 << 20

// runSalvage measures what logmule makes of a Heka queue: bytes a second of its files, by what is done with them.
func runSalvage(o options) error {
	dir, err := os.MkdirTemp(o.Dir, "salvage-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	from := filepath.Join(dir, "relay")
	size, err := writeHekaQueue(from, newCorpus(), o.Records)
	if err != nil {
		return fmt.Errorf("write a Heka queue: %w", err)
	}
	fmt.Printf("salvage of a Heka queue of %s records, %s MB\n", grouped(float64(o.Records)), grouped(float64(size)/1e6))
	for _, how := range []struct {
		what string
		args []string
	}{
		{"check", []string{"--check"}},
		{"export, raw", []string{"--export", os.DevNull}},
		{"into a new data directory", []string{"--into", filepath.Join(dir, "data")}},
	} {
		took := make([]time.Duration, o.Runs)
		for i := range took {
			if took[i], err = salvage(o, append([]string{"salvage", "heka", from}, how.args...)); err != nil {
				return err
			}
			if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
				return err
			}
		}
		slices.Sort(took)
		line(how.what, "%12s MB/s", grouped(float64(size)/1e6/took[o.Runs/2].Seconds()))
	}
	fmt.Println()
	return nil
}

// salvage runs the command, which has to find all records.
func salvage(o options, args []string) (time.Duration, error) {
	began := time.Now()
	out, err := exec.Command(o.Binary, args...).CombinedOutput()
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("run %v: %w\n%s", args, err, out)
	}
	if want := fmt.Sprintf("Not delivered: %d records, of which %d intact", o.Records, o.Records); !bytes.Contains(out, []byte(want)) {
		return 0, fmt.Errorf("run %v: it does not say %q\n%s", args, want, out)
	}
	return took, nil
}

// writeHekaQueue makes a queue of lines of the corpus, and returns its size.
func writeHekaQueue(dir string, c corpus, records int) (size int64, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	var file *os.File
	var out *bufio.Writer
	finish := func() error {
		if file == nil {
			return nil
		}
		if err := out.Flush(); err != nil {
			return err
		}
		return file.Close()
	}
	var frame []byte
	written := int64(salvageFile)
	for n, number := 0, 0; n < records; n++ {
		if written >= salvageFile {
			if err := finish(); err != nil {
				return 0, err
			}
			if file, err = os.Create(filepath.Join(dir, strconv.Itoa(number)+".log")); err != nil {
				return 0, err
			}
			out, written = bufio.NewWriterSize(file, 1<<20), 0
			number++
		}
		frame = appendHekaFrame(frame[:0], uint64(n), c.line(uint64(n)))
		if _, err := out.Write(frame); err != nil {
			return 0, err
		}
		written += int64(len(frame))
		size += int64(len(frame))
	}
	return size, finish()
}

// appendHekaFrame appends what Heka stores for a line from a TCP input.
func appendHekaFrame(dst []byte, n uint64, payload []byte) []byte {
	text := func(m []byte, num byte, value string) []byte {
		return append(binary.AppendUvarint(append(m, num<<3|2), uint64(len(value))), value...)
	}
	m := binary.BigEndian.AppendUint64([]byte{1<<3 | 2, 16}, (n+1)*0x9e3779b97f4a7c15)
	m = binary.BigEndian.AppendUint64(m, n)
	m = binary.AppendUvarint(append(m, 2<<3), 1_700_000_000_000_000_000+n)
	m = text(text(m, 3, "lines"), 4, "lines")
	m = text(text(m, 6, string(payload)), 9, "127.0.0.1:50726")
	header := binary.AppendUvarint([]byte{1 << 3}, uint64(len(m)))
	return append(append(append(append(dst, 0x1e, byte(len(header))), header...), 0x1f), m...)
}
