package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"
	"time"

	"logmule/forward/pack"
)

// reader is what one reading goroutine has for itself.
type reader struct {
	t      *tailer
	split  *splitter
	pack   pack.Pack
	block  []byte
	most   int    // bytes that a turn reads
	broken bool   // the compressed file of this turn breaks off
	spare  []byte // a larger one, borrowed
	value  []byte // an encoded position
}

func (t *tailer) newReader() *reader {
	r := &reader{t: t, split: t.newSplitter(), block: make([]byte, blockSize), most: turnSize}
	r.pack.Kept = true
	r.pack.Shared = t.env.Attributes
	return r
}

// turn reads what a file has, at most turnSize bytes, and notes what it found out. The reader has the track. The error
// is that of handing over: nothing more can be.
func (r *reader) turn(ctx context.Context, tr *track) error {
	t := r.t
	t.mu.Lock()
	p, st := tr.pos, tr.state
	path, id, size := "", tr.pos.id, int64(0)
	if tr.at != nil {
		path, size = tr.at.path, tr.seen
	}
	t.mu.Unlock()
	now, was := t.env.Now(), p.mtime
	r.broken = false
	st.atEnd, st.fault, st.moved = false, nil, false
	err := r.read(ctx, tr, &p, &st, path, id, now)
	r.giveSpareBack()
	handing := errors.Is(err, errHandOver)
	switch {
	case err == nil || handing:
		if st.pause > 0 {
			t.faults.over("file " + path)
		}
		st.pause = 0
	case errors.Is(err, errChanged):
		st.changed = true
		p.mtime = was // the time is that of another content
	case gone(err):
		st.moved = true
		t.close(tr)
	default:
		t.faults.note("file "+path, err, "it is read on when it can be read again; let the daemon read it, and look at its disk")
		st.fault = err
		st.pause = min(max(retryAfter, 2*st.pause), retryMost)
		if _, ok := errors.AsType[syscall.Errno](err); !ok {
			st.pause = goneAfter // bad content gets better only when it changes
		}
		st.size = size
		st.retryAt = now.Add(st.pause)
		t.close(tr) // a stale handle never recovers
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			t.closeOne(tr)
		}
	}
	if r.broken {
		t.close(tr) // its stream cannot go on where it broke off
	}
	t.mu.Lock()
	tr.pos, tr.state = p, st
	tr.lastUse = now
	if st.changed || st.moved {
		t.lookUp = true
	}
	t.mu.Unlock()
	if handing {
		return err
	}
	return nil
}

var errHandOver = errors.New("hand over records")

// read is turn without the bookkeeping of errors.
func (r *reader) read(ctx context.Context, tr *track, p *position, st *state, path string, id fileID, now time.Time) error {
	t := r.t
	if tr.src == nil {
		if path == "" {
			return errMoved
		}
		src, head, window, err := checked(path, id, p.flags&flagGzip != 0, p)
		if err != nil {
			return err
		}
		t.keepOpen(tr, src, head, window)
	}
	info, err := tr.src.f.Stat()
	if err != nil {
		return err
	}
	st.unnamed = linksOf(info) == 0
	st.size, st.mtime = info.Size(), info.ModTime().UnixNano()
	p.mtime = st.mtime
	if !tr.gzip() && st.size < p.offset {
		return fmt.Errorf("%d bytes are left of %d: %w", st.size, p.offset, errChanged)
	}
	for left := r.most; left > 0; {
		used, rest, end, err := r.block1(ctx, tr, p, false)
		if used > 0 {
			st.grownAt, st.held, st.rest = now, 0, 0
		}
		if err != nil {
			return err
		}
		left -= max(used, 1)
		if end {
			return r.atEnd(ctx, tr, p, st, rest, now)
		}
	}
	return nil
}

// atEnd decides what becomes of the bytes behind the last whole record.
func (r *reader) atEnd(ctx context.Context, tr *track, p *position, st *state, rest int64, now time.Time) error {
	st.atEnd, st.broken = true, r.broken
	if rest != st.rest || st.restAt.IsZero() {
		if st.restAt.IsZero() { // since a time before this start, perhaps
			st.restAt = now
			if silent := now.Sub(time.Unix(0, st.mtime)); silent > 0 {
				st.restAt = now.Add(-silent) // from here on the clock may be set
			}
		} else {
			st.restAt = now
		}
		if rest != st.held {
			st.held = 0
		}
		st.rest = rest
	}
	if rest > 0 && (st.held == 0) && !now.Before(st.restAt.Add(r.t.restLimit(tr, st))) {
		_, left, _, err := r.block1(ctx, tr, p, true)
		if err != nil {
			return err
		}
		st.rest, rest = left, left
	}
	if rest == 0 && tr.gzip() && !tr.done() && !st.broken {
		p.flags |= flagDone
		r.t.env.Positions.Set(tr.key, p.append(nil))
	}
	return nil
}

// restLimit is the silence after which the last bytes of a file are a record.
func (t *tailer) restLimit(tr *track, st *state) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limitLocked(tr, st)
}

func (t *tailer) limitLocked(tr *track, st *state) time.Duration {
	limit := t.opt.PartialAfter
	if t.opt.Multiline != nil {
		limit = max(limit, t.opt.GroupAfter)
	}
	switch {
	case tr.gzip() && !st.broken || tr.at != nil && tr.at.copied:
		return 0
	case tr.renamed() || st.unnamed:
		return min(limit, rotatedAfter)
	default:
		return limit
	}
}

// block1 reads one block and hands over the records in it. used is how far p moved, rest how many bytes were read after
// that, end that there are no more.
func (r *reader) block1(ctx context.Context, tr *track, p *position, final bool) (used int, rest int64, end bool, err error) {
	block := r.block
	for {
		w := len(tr.window)
		n, err := tr.src.readAt(block, p.offset-int64(w))
		end = err == io.EOF
		if err != nil && !end {
			if !incomplete(err) || n < w {
				return 0, 0, false, fmt.Errorf("read %s: %w", tr.src.f.Name(), err)
			}
			end, r.broken = true, true // a compressed file that breaks off; more may come
		}
		if n < w || !bytes.Equal(block[:w], tr.window) || w == 0 && !bytes.HasPrefix(block[:n], tr.head[:min(len(tr.head), len(block))]) {
			return 0, 0, false, errChanged
		}
		used, err := r.records(ctx, tr, p, block[:n], w, final && end)
		if err != nil || used > 0 || end {
			return used, int64(n - w - used), end, err
		}
		if len(block) >= r.largest()+w {
			return 0, 0, false, fmt.Errorf("no end of a record in %d bytes of %s", n, tr.src.f.Name())
		}
		if block, err = r.borrow(ctx, r.largest()+w); err != nil {
			return 0, 0, false, fmt.Errorf("%w: wait for memory (memory_limit) for a long record: %w", errHandOver, err)
		}
	}
}

// largest is how many bytes of a file the splitter can need to see at once.
func (r *reader) largest() int {
	n := r.split.rawMax() + 16
	if r.split.multiline != nil {
		n *= 2
	}
	return max(n, blockSize)
}

func (r *reader) borrow(ctx context.Context, size int) ([]byte, error) {
	r.giveSpareBack()
	if err := r.t.env.Memory.Acquire(ctx, int64(size)); err != nil {
		return nil, err
	}
	r.spare = make([]byte, size)
	return r.spare, nil
}

func (r *reader) giveSpareBack() {
	if r.spare != nil {
		r.t.env.Memory.Release(int64(len(r.spare)))
		r.spare = nil
	}
}

// records hands over what block holds from i on, as far as it is whole records.
func (r *reader) records(ctx context.Context, tr *track, p *position, block []byte, i int, final bool) (used int, err error) {
	at := situation{final: final}
	for i < len(block) {
		at.skip = p.flags & (flagSkipLine | flagSkipGroup)
		at.begin = p.offset == 0
		at.big = r.bigEndian(tr, block[i:], at.begin)
		c := chunk{upto: r.hole(tr, block[i:], at.begin)}
		if c.upto == 0 {
			c = r.split.next(block[i:], at)
		}
		if c.upto == 0 {
			break
		}
		next := *p
		tr.extendHead(&next, p.offset, block[i:i+c.upto])
		end := i + c.upto
		window := block[max(0, end-tailSize):end]
		next.flags = next.flags&^(flagSkipLine|flagSkipGroup) | c.skip
		next.advance(p.offset+int64(c.upto), window)
		if err := r.send(ctx, tr, &next, &c); errors.Is(err, ErrTooLarge) {
			r.split.limit /= 2 // from now on: what has come once comes again
			continue
		} else if err != nil {
			return used, err
		}
		i = end
		tr.window = append(tr.window[:0], window...)
		*p = next
		used += c.upto
		r.t.mu.Lock()
		tr.pos = next
		r.t.mu.Unlock()
	}
	return used, nil
}

// hole returns how many zero bytes there are at the beginning of a file, if they are so many that nobody wrote them. A
// program that does not append leaves a hole where a file was cut that it goes on writing to; no line is in there.
func (r *reader) hole(tr *track, b []byte, begin bool) int {
	if r.split.encoding.wide() || !begin && !tr.hole {
		return 0
	}
	n := 0
	for n < len(b) && b[n] == 0 {
		n++
	}
	if begin && n < holeSize {
		n = 0
	}
	tr.hole = n == len(b) && n > 0
	return n
}

// send hands over one pack. A chunk without records moves the position in memory alone: it is found again.
func (r *reader) send(ctx context.Context, tr *track, next *position, c *chunk) error {
	if c.count == 0 {
		return nil
	}
	t := r.t
	r.value = next.append(r.value[:0])
	k := &r.pack
	k.Source, k.Position = t.env.Source+tr.key, r.value
	k.Form, k.Body, k.Count = c.form, c.body, c.count
	k.Shared.Logger, k.Shared.Timestamp = next.name, t.env.Now().UnixNano()
	k.Shared.Fields = nil
	if c.cuts > 0 && c.form == pack.Lines {
		k.Shared.Fields = truncatedField
	}
	stored, err := t.env.Emit(ctx, k)
	k.Body = nil
	if err != nil {
		return fmt.Errorf("%w: %w", errHandOver, err)
	}
	if c.cuts > 0 {
		t.env.Truncated.Add(uint64(c.cuts))
		if t.cuts.allow(time.Now()) {
			t.env.Log.Warn("record cut, its head kept", "input", t.env.Name, "from", next.name, "why", "longer than max_record",
				"kept", t.opt.MaxRecord, "sample", strconv.QuoteToASCII(string(c.first[:min(100, len(c.first))])))
		}
	}
	if !stored {
		t.env.Positions.Set(tr.key, bytes.Clone(r.value))
	}
	return nil
}

// bigEndian says which byte of UTF-16 comes first.
func (r *reader) bigEndian(tr *track, first []byte, begin bool) bool {
	switch r.t.opt.Encoding {
	case UTF16BE:
		return true
	case UTF16:
		if !begin || len(tr.head) >= 2 {
			first = tr.head
		}
		return len(first) >= 2 && first[0] == 0xfe && first[1] == 0xff
	default:
		return false
	}
}
