package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/golang/snappy"

	"logmule/integration/rig"
)

// arrive makes three chunks of two sources, lets fault change them, and checks them.
func arrive(fault func(b []byte) []byte) (*check, error) {
	c := newCorpus()
	one, two := newStream(c, 1), newStream(c, 2)
	b := slices.Concat(one.chunk(chunkRecords), two.chunk(10), one.chunk(5))
	k := newCheck(c)
	return k, k.take(fault(b))
}

func TestCheckTakesWhatTheGeneratorMakes(t *testing.T) {
	k, err := arrive(func(b []byte) []byte { return b })
	if err != nil {
		t.Fatal(err)
	}
	if k.records != chunkRecords+15 {
		t.Errorf("%d records, want %d", k.records, chunkRecords+15)
	}
}

// More records than the corpus has lines: the numbers go on while the text comes round.
func TestCheckTakesMoreThanOneRound(t *testing.T) {
	c := newCorpus()
	s, k := newStream(c, 0), newCheck(c)
	for range 2*chunks + 1 {
		if err := k.take(s.chunk(chunkRecords)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckFindsFaults(t *testing.T) {
	for name, fault := range map[string]func(b []byte) []byte{
		"lost":     func(b []byte) []byte { return b[lineSize:] },
		"doubled":  func(b []byte) []byte { return append(bytes.Clone(b[:lineSize]), b...) },
		"swapped":  func(b []byte) []byte { return slices.Concat(b[lineSize:2*lineSize], b[:lineSize]) },
		"altered":  func(b []byte) []byte { b[200] ^= 1; return b },
		"torn":     func(b []byte) []byte { return b[:len(b)-1] },
		"other LF": func(b []byte) []byte { b[recordSize] = ' '; return b },
	} {
		if _, err := arrive(fault); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The corpus is as compressible as the page claims for such logs.
func TestCorpusCompressesLikeLogs(t *testing.T) {
	c := newCorpus()
	ratio := float64(chunkSize) / float64(len(snappy.Encode(nil, c[:chunkSize])))
	if ratio < 2.5 || ratio > 6 {
		t.Errorf("snappy makes it %.2f:1", ratio)
	}
	if bytes.Count(c, []byte{'\n'}) != corpusSize {
		t.Errorf("%d lines, want %d", bytes.Count(c, []byte{'\n'}), corpusSize)
	}
}

func TestCounter(t *testing.T) {
	c := newCounter()
	for range 1001 {
		c.raise()
	}
	if string(c[:]) != "000000001001" {
		t.Errorf("1001 raises make %s", c[:])
	}
}

func TestGrouped(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := grouped(x); got != want {
			t.Errorf("grouped(%v) = %s, want %s", x, got, want)
		}
	}
}

// The figures for a salvage count only where all records are found.
func TestSalvageFindsTheQueueOfTheBenchmark(t *testing.T) {
	dir := t.TempDir()
	o := options{Binary: rig.Binary(t), Dir: dir, Runs: 1, Records: 1000}
	if err := runSalvage(o); err != nil {
		t.Fatal(err)
	}
	if _, err := writeHekaQueue(filepath.Join(dir, "relay"), newCorpus(), 10); err != nil {
		t.Fatal(err)
	}
	if _, err := salvage(o, []string{"salvage", "heka", filepath.Join(dir, "relay"), "--check"}); err == nil {
		t.Error("10 records are taken for 1000")
	}
}
