package main

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/golang/snappy"
)

// machine is what this machine can do without logmule, on one core where it is about computing, measured in this run.
type machine struct {
	Copy, Encode, Decode, CRC float64 // bytes a second
	Ratio                     float64 // raw to stored of the corpus in blocks of 256 KiB
	Write                     float64 // bytes a second: 1 MiB writes, each followed by fdatasync
	Syncs                     float64 // a second: 4 KiB appended, fdatasync
}

// probeFor is how long each figure is measured.
const probeFor = time.Second

func measure(dir string, c corpus) (machine, error) {
	var m machine
	to := make([]byte, len(c))
	m.Copy = rate(func() int { return copy(to, c) })
	table := crc32.MakeTable(crc32.Castagnoli)
	var sum uint32
	m.CRC = rate(func() int { sum ^= crc32.Checksum(c, table); return len(c) })
	var packed [][]byte
	stored := 0
	for at := 0; at < len(c); at += chunkSize {
		packed = append(packed, snappy.Encode(nil, c[at:at+chunkSize]))
		stored += len(packed[len(packed)-1])
	}
	m.Ratio = float64(len(c)) / float64(stored)
	block := make([]byte, snappy.MaxEncodedLen(chunkSize))
	m.Encode = rate(func() int {
		for at := 0; at < len(c); at += chunkSize {
			snappy.Encode(block, c[at:at+chunkSize])
		}
		return len(c)
	})
	m.Decode = rate(func() int {
		for _, p := range packed {
			if _, err := snappy.Decode(block, p); err != nil {
				return 0 // what was just encoded decodes
			}
		}
		return len(c)
	})
	var err error
	if m.Write, err = syncRate(dir, c[:1<<20]); err != nil {
		return m, err
	}
	syncs, err := syncRate(dir, c[:4<<10])
	m.Syncs = syncs / (4 << 10)
	return m, err
}

// rate repeats work, which returns the bytes it did, and gives bytes a second of CPU time: what a core does that has nothing else to do.
func rate(work func() int) float64 {
	work() // the first touch of its memory does not count
	start, used, bytes := time.Now(), ownCPU(), 0
	for time.Since(start) < probeFor {
		bytes += work()
	}
	return float64(bytes) / (ownCPU() - used).Seconds()
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it takes nothing that can be wrong
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// syncRate appends block over and over to a new file, with fdatasync after each, and gives bytes a second.
func syncRate(dir string, block []byte) (float64, error) {
	name := filepath.Join(dir, "probe")
	file, err := os.Create(name)
	if err != nil {
		return 0, fmt.Errorf("probe disk: %w", err)
	}
	defer func() { _ = file.Close(); _ = os.Remove(name) }()
	start, bytes := time.Now(), 0
	for time.Since(start) < probeFor {
		if _, err := file.Write(block); err != nil {
			return 0, fmt.Errorf("probe disk: %w", err)
		}
		if err := fdatasync(file); err != nil {
			return 0, fmt.Errorf("probe disk: %w", err)
		}
		bytes += len(block)
	}
	return float64(bytes) / time.Since(start).Seconds(), nil
}
