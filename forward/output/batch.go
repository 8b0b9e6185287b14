package output

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"sort"

	"google.golang.org/protobuf/encoding/protowire"

	"logmule/forward/pack"
)

// keepScratch is the largest capacity of the scratch bytes, in bytes, that Reset keeps.
const keepScratch = 1 << 20

// Run is a part of a batch as it came from the queue: records that share encoded attributes.
type Run struct {
	Form       pack.Form
	Count      int    // records in Body
	Attributes []byte // as pack.Attributes.Append wrote them
	Body       []byte // as in pack.Pack
}

// Batch is what Send delivers: runs in the order of the queue, and for every record of them, counted from 0, whether it
// is pending, accepted or rejected. All are pending at first, but those filtered out, which are neither and never asked
// for. The runs are views of memory that the engine owns; they
// and every slice that a method returns are valid until the batch is Reset. It is used by one goroutine at a time.
// The zero Batch is empty and ready.
type Batch struct {
	ID          string // stable over retries and restarts: queue id, epoch, First and Last
	First, Last uint64 // sequences

	runs   []Run
	starts []int // index of the first record of every run
	count  int
	size   int

	settled  []uint64 // bitmap of records that are not or no longer pending; what it does not reach is pending
	finished int      // bits set in it
	filtered int      // of them, those filtered out
	rejected []Rejection

	scratch []byte      // decoded lines or framed records
	inner   []span      // see AppendLines
	encoded []byte      // the record that is being framed
	record  pack.Record // decodes for AppendLines and appendFramed
	seen    place
}

// Rejection is a record that the destination refuses for good.
type Rejection struct {
	Index  int
	Reason string
}

// span is a range of bytes.
type span struct{ from, to int }

// place remembers where the last record was found, so that asking for one after the other costs one walk over a run.
type place struct{ run, record, offset int }

// errStop ends a walk early.
var errStop = errors.New("stop")

// Add appends a run. Its slices are kept, not copied. The engine calls it, before Send.
func (b *Batch) Add(run Run) {
	b.runs = append(b.runs, run)
	b.starts = append(b.starts, b.count)
	b.count += run.Count
	b.size += len(run.Body)
}

// AddPart is Add for a run of which some records are filtered out: the bits of out tell which. size is how many bytes of
// the body the others take.
func (b *Batch) AddPart(run Run, out []uint64, size int) {
	start := b.count
	b.Add(run)
	b.size += size - len(run.Body)
	for i := range run.Count {
		if out[i/64]&(1<<(i%64)) != 0 {
			b.filter(start+i, start+i+1)
		}
	}
}

// AddHole appends n records that are filtered out. Nothing of them but their number is in the batch.
func (b *Batch) AddHole(n int) {
	start := b.count
	if last := len(b.runs) - 1; last >= 0 && b.runs[last].Body == nil && b.pendingIn(b.starts[last], start) == 0 {
		b.runs[last].Count += n
		b.count += n
	} else {
		b.Add(Run{Form: pack.Lines, Count: n})
	}
	b.filter(start, b.count)
}

// filter takes [from, to), all of them pending, from the pending records.
func (b *Batch) filter(from, to int) {
	b.finished += to - from
	b.filtered += to - from
	for b.reach((to - 1) / 64); from < to; {
		word, bit := from/64, from%64
		many := min(64-bit, to-from)
		b.settled[word] |= ^uint64(0) >> (64 - many) << bit
		from += many
	}
}

// reach makes the bitmap of settled records that long.
func (b *Batch) reach(word int) {
	for word >= len(b.settled) {
		b.settled = append(b.settled, 0)
	}
}

// Filtered returns the number of records that are filtered out.
func (b *Batch) Filtered() int { return b.filtered }

// Reset empties the batch for another use and lets go of what it was given.
func (b *Batch) Reset() {
	clear(b.runs)
	clear(b.rejected)
	scratch, encoded := b.scratch[:0], b.encoded[:0]
	if cap(scratch) > keepScratch {
		scratch = nil
	}
	if cap(encoded) > keepScratch {
		encoded = nil
	}
	*b = Batch{
		runs: b.runs[:0], starts: b.starts[:0], settled: b.settled[:0], rejected: b.rejected[:0], inner: b.inner[:0],
		scratch: scratch, encoded: encoded,
		record: pack.Record{Attributes: pack.Attributes{Fields: b.record.Fields[:0]}},
	}
}

// Len returns the number of records, pending or not.
func (b *Batch) Len() int { return b.count }

// Pending returns the number of records that are neither accepted nor rejected.
func (b *Batch) Pending() int { return b.count - b.finished }

// Bytes returns the size of all bodies without what is filtered out, which is about what the records take on the wire.
func (b *Batch) Bytes() int { return b.size }

// IsPending tells whether record i is neither accepted nor rejected.
func (b *Batch) IsPending(i int) bool {
	word := i / 64
	return word >= len(b.settled) || b.settled[word]&(1<<(i%64)) == 0
}

// Accept notes that the destination has record i. Accepting or rejecting a record again changes nothing.
func (b *Batch) Accept(i int) { b.settle(i) }

// Reject notes that the destination refuses record i for good, so that the engine can dead-letter it.
func (b *Batch) Reject(i int, reason string) {
	if b.settle(i) {
		b.rejected = append(b.rejected, Rejection{Index: i, Reason: reason})
	}
}

// Rejected returns the records that were rejected, in the order in which that happened.
func (b *Batch) Rejected() []Rejection { return b.rejected }

// settle takes record i from the pending ones, false when it was none.
func (b *Batch) settle(i int) bool {
	if i < 0 || i >= b.count || !b.IsPending(i) {
		return false
	}
	b.reach(i / 64)
	b.settled[i/64] |= 1 << (i % 64)
	b.finished++
	return true
}

// pendingIn returns the number of pending records in [from, to).
func (b *Batch) pendingIn(from, to int) int {
	if b.finished == 0 {
		return to - from
	}
	n := to - from
	for i := from; i < to; {
		word, bit := i/64, i%64
		if word >= len(b.settled) {
			break
		}
		many := min(64-bit, to-i)
		n -= bits.OnesCount64(b.settled[word] >> bit << (64 - many))
		i += many
	}
	return n
}

// firstPending returns the index of the first pending record, Len when there is none.
func (b *Batch) firstPending() int {
	for word, settled := range b.settled {
		if settled != ^uint64(0) {
			return min(b.count, word*64+bits.TrailingZeros64(^settled))
		}
	}
	return min(b.count, len(b.settled)*64)
}

// acceptIn accepts all pending records in [from, to).
func (b *Batch) acceptIn(from, to int) {
	for i := from; i < to; i++ {
		b.settle(i)
	}
}

// AppendLines appends the pending records [from, to) to dst, each as its payload and LF, in as few slices as possible: a
// whole body where all records of a lines run are wanted, parts of it where not, and decoded payloads in memory of the
// batch for records runs. The next call uses that memory again. A record that cannot be decoded is rejected: no
// destination could ever be given it.
//
// Every LF in the result ends a record, except those inside of the ranges b.inner, which count from the first byte that
// this call appended: each holds one record with LF in its payload.
func (b *Batch) AppendLines(dst net.Buffers, from, to int) net.Buffers {
	b.reserve(from, to)
	total, open := 0, -1 // bytes appended; where in scratch the last slice of dst starts, -1 when it is not in there
	for n := range b.runs {
		run, start := &b.runs[n], b.starts[n]
		lo, hi := max(from, start), min(to, start+run.Count)
		if lo >= hi {
			continue
		}
		if b.pendingIn(lo, hi) == 0 {
			continue
		}
		if run.Form != pack.Records {
			before := len(dst)
			dst = b.appendBody(dst, n, lo, hi)
			for _, s := range dst[before:] {
				total += len(s)
				open = -1
			}
			continue
		}
		at := len(b.scratch)
		b.decode(n, lo, hi, total-at)
		total += len(b.scratch) - at
		switch {
		case len(b.scratch) == at:
		case open >= 0:
			dst[len(dst)-1] = b.scratch[open:]
		default:
			open = at
			dst = append(dst, b.scratch[at:])
		}
	}
	return dst
}

// reserve empties the scratch bytes and makes room for what [from, to) can need, so that they never move while slices of
// them are handed out: a payload and its LF are shorter than the record with its length and tags, or just as long.
func (b *Batch) reserve(from, to int) {
	need := 0
	for n := range b.runs {
		run, start := &b.runs[n], b.starts[n]
		if run.Form == pack.Records && from < start+run.Count && to > start {
			need += len(run.Body) + run.Count
		}
	}
	b.scratch, b.inner = b.scratch[:0], b.inner[:0]
	if need > cap(b.scratch) {
		b.scratch = make([]byte, 0, need)
	}
}

// appendBody appends the pending records [lo, hi) of lines run n.
func (b *Batch) appendBody(dst net.Buffers, n, lo, hi int) net.Buffers {
	run, start := &b.runs[n], b.starts[n]
	if hi-lo == run.Count && b.pendingIn(lo, hi) == run.Count {
		return append(dst, run.Body)
	}
	from, at := 0, 0 // the pending records before at start at from
	for i := start; i < hi; i++ {
		end := bytes.IndexByte(run.Body[at:], '\n')
		if end < 0 {
			b.rejectIn(max(i, lo), hi, fmt.Sprintf("read record %d of %d: %v", i-start, run.Count, pack.ErrBody))
			break
		}
		if i < lo || !b.IsPending(i) {
			if from < at {
				dst = append(dst, run.Body[from:at])
			}
			from = at + end + 1
		}
		at += end + 1
	}
	if from < at {
		dst = append(dst, run.Body[from:at])
	}
	return dst
}

// decode appends the lines of the pending records [lo, hi) of records run n to the scratch bytes. shift is what has to be
// added to an offset in them for an offset in the result of AppendLines.
func (b *Batch) decode(n, lo, hi, shift int) {
	b.each(n, lo, hi, func(i int, own []byte) { b.decodeLine(i, own, shift) })
}

// each calls fn for every pending record of [lo, hi), which are in run n, with its bytes as pack.Each gives them. Records
// that cannot be found are rejected.
func (b *Batch) each(n, lo, hi int, fn func(i int, own []byte)) {
	run, i := &b.runs[n], b.starts[n]
	err := pack.Each(run.Form, run.Body, func(own []byte) error {
		if i >= hi {
			return errStop
		}
		if i >= lo && b.IsPending(i) {
			fn(i, own)
		}
		i++
		return nil
	})
	if err == nil {
		err = pack.ErrBody // and i tells whether records are missing
	}
	if i < hi {
		b.rejectIn(max(i, lo), hi, fmt.Sprintf("read record %d of %d: %v", i-b.starts[n], run.Count, err))
	}
}

func (b *Batch) decodeLine(i int, own []byte, shift int) {
	if err := b.record.Decode(nil, own, pack.Records); err != nil {
		b.Reject(i, err.Error())
		return
	}
	at := len(b.scratch)
	b.scratch = append(append(b.scratch, b.record.Payload...), '\n')
	if bytes.IndexByte(b.record.Payload, '\n') >= 0 {
		b.inner = append(b.inner, span{at + shift, len(b.scratch) + shift})
	}
}

// rejectIn rejects all pending records in [from, to).
func (b *Batch) rejectIn(from, to int, reason string) {
	for i := from; i < to; i++ {
		b.Reject(i, reason)
	}
}

// Record decodes record i, pending or not, into r, whose byte slices are parts of the run. Asking for one record after
// the other is cheap. An error, which names the record, means that it can be delivered to nobody: Reject it.
func (b *Batch) Record(i int, r *pack.Record) error {
	if i < 0 || i >= b.count {
		return fmt.Errorf("read record %d of a batch of %d: there is none", i, b.count)
	}
	n := b.runOf(i)
	run := &b.runs[n]
	own, err := b.own(n, i-b.starts[n])
	if err == nil {
		err = r.Decode(run.Attributes, own, run.Form)
	}
	if err != nil {
		return fmt.Errorf("read record %d of batch %s: %w", i, b.ID, err)
	}
	return nil
}

// runOf returns the index of the run that holds record i.
func (b *Batch) runOf(i int) int { return sort.SearchInts(b.starts, i+1) - 1 }

// own returns the bytes of record i of run n as pack.Each gives them.
func (b *Batch) own(n, i int) ([]byte, error) {
	run := &b.runs[n]
	if b.seen.run != n || b.seen.record > i {
		b.seen = place{run: n}
	}
	for {
		head, count, rest := pack.Split(run.Form, run.Body[b.seen.offset:], 0)
		if count == 0 {
			return nil, pack.ErrBody
		}
		if b.seen.record < i {
			b.seen.record++
			b.seen.offset = len(run.Body) - len(rest)
			continue
		}
		if run.Form == pack.Records {
			own, _ := protowire.ConsumeBytes(head)
			return own, nil
		}
		return head[:len(head)-1], nil
	}
}
