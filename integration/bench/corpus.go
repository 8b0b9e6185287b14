package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
)

// A record of the bench is 256 bytes and its LF:
//
//	SS NNNNNNNNNNNN TEXT LF
//
// SS is the connection that sends it, N its number there from 0 on, both in decimal. TEXT is one of a set of made
// log lines, picked by the number, so that the sink can compare every byte without being told anything.
const (
	recordSize   = 256
	lineSize     = recordSize + 1
	digits       = 12
	numberAt     = 3
	textAt       = numberAt + digits + 1
	chunkRecords = 256 << 10 / lineSize // records of a chunk: what a generator writes or posts at once
	chunkSize    = chunkRecords * lineSize
	chunks       = 32 // different chunks of the corpus, about 8 MiB
	corpusSize   = chunks * chunkRecords
)

// corpus is the made text: corpusSize lines of lineSize bytes, with source and number zero.
type corpus []byte

// newCorpus makes the same text every time: lines of five kinds of service with times that advance, addresses, ids and
// durations that change, about as repetitive as the logs of a small cluster.
func newCorpus() corpus {
	r := rand.New(rand.NewPCG(1, 2))
	b := make(corpus, 0, corpusSize*lineSize)
	for n := range corpusSize {
		start := len(b)
		b = fmt.Appendf(b, "00 %0*d ", digits, 0)
		ms := n * 3
		stamp := fmt.Sprintf("2026-01-17T%02d:%02d:%02d.%03dZ", ms/3600000%24, ms/60000%60, ms/1000%60, ms%1000)
		for len(b) < start+recordSize {
			b = appendLine(b, r, stamp)
		}
		b = append(b[:start+recordSize], '\n')
	}
	return b
}

func appendLine(b []byte, r *rand.Rand, stamp string) []byte {
	host, address := r.IntN(12), r.IntN(200)
	switch r.IntN(5) {
	case 0:
		return fmt.Appendf(b, `%s edge-%02d nginx: 10.11.%d.%d - - "GET /v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/detail HTTP/1.1" 200 %d "-" "python-requests/2.31" rt=0.%03d urt=0.%03d `,
			stamp, host, host, address, 1000+r.IntN(900), r.IntN(1000), r.IntN(1000))
	case 1:
		return fmt.Appendf(b, "%s db-%02d postgres[%d]: LOG: duration: %d.%03d ms statement: SELECT id, state, updated_at FROM orders WHERE customer_id = %d ORDER BY updated_at DESC LIMIT 50 ",
			stamp, host, 4000+host, r.IntN(40), r.IntN(1000), r.IntN(1e6))
	case 2:
		return fmt.Appendf(b, "%s app-%02d sshd[%d]: Failed password for invalid user admin from 173.234.%d.%d port %d ssh2; message repeated %d times ",
			stamp, host, 24000+r.IntN(999), host, address, 30000+r.IntN(30000), r.IntN(9))
	case 3:
		return fmt.Appendf(b, "%s data-%02d INFO dfs.DataNode$PacketResponder: PacketResponder %d for block blk_%d terminating; src: /10.250.%d.%d:54106 dest: /10.250.%d.%d:50010 ",
			stamp, host, r.IntN(3), r.Int64N(1e17), host, address, address%20, r.IntN(200))
	default:
		return fmt.Appendf(b, `%s app-%02d {"level":"info","logger":"billing.worker","msg":"invoice sent","tenant":"t-%04d","invoice":%d,"attempt":%d,"duration_ms":%d,"queue":"default","trace":"%016x"} `,
			stamp, host, r.IntN(3000), r.IntN(1e7), 1+r.IntN(3), r.IntN(2000), r.Uint64())
	}
}

// line is the made line that a number gets.
func (c corpus) line(number uint64) []byte {
	at := int(number%corpusSize) * lineSize
	return c[at : at+lineSize]
}

// counter is a number in decimal that is cheap to raise.
type counter [digits]byte

func newCounter() *counter {
	c := new(counter)
	copy(c[:], bytes.Repeat([]byte{'0'}, digits))
	return c
}

func (c *counter) raise() {
	for i := digits - 1; i >= 0; i-- {
		if c[i]++; c[i] <= '9' {
			return
		}
		c[i] = '0'
	}
}

// stream is what one connection sends: the corpus over and over, numbered.
type stream struct {
	corpus corpus // an own copy: the numbers are patched in place
	next   int    // chunk
	number *counter
}

func newStream(c corpus, source int) *stream {
	s := &stream{corpus: bytes.Clone(c), number: newCounter()}
	name := fmt.Appendf(nil, "%02d", source)
	for at := 0; at < len(s.corpus); at += lineSize {
		copy(s.corpus[at:], name)
	}
	return s
}

// chunk gives the next records, of a whole chunk or as many as are left. It is valid until the corpus comes round.
func (s *stream) chunk(left int) []byte {
	b := s.corpus[s.next*chunkSize : (s.next+1)*chunkSize]
	b = b[:min(left, chunkRecords)*lineSize]
	for at := 0; at < len(b); at += lineSize {
		copy(b[at+numberAt:], s.number[:])
		s.number.raise()
	}
	s.next = (s.next + 1) % chunks
	return b
}

// check holds what arrives against what must: every record of every source once, in order, bit for bit.
type check struct {
	corpus  corpus
	sources map[[2]byte]*progress
	records uint64
}

type progress struct {
	number *counter
	count  uint64
}

func newCheck(c corpus) *check { return &check{corpus: c, sources: map[[2]byte]*progress{}} }

var errTorn = errors.New("a record is not 257 bytes long with its LF")

// take checks whole records.
func (c *check) take(b []byte) error {
	if len(b)%lineSize != 0 {
		return fmt.Errorf("check %d bytes after record %d: %w", len(b), c.records, errTorn)
	}
	for ; len(b) > 0; b = b[lineSize:] {
		name := [2]byte(b)
		p := c.sources[name]
		if p == nil {
			p = &progress{number: newCounter()}
			c.sources[name] = p
		}
		want := c.corpus.line(p.count)
		if string(b[numberAt:textAt-1]) != string(p.number[:]) || string(b[textAt:lineSize]) != string(want[textAt:]) {
			return fmt.Errorf("check record %d: source %q wants number %s, came %.60q", c.records, name[:], p.number[:], b[:lineSize])
		}
		p.number.raise()
		p.count++
		c.records++
	}
	return nil
}
