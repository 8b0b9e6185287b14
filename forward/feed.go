package forward

import (
	"context"
	"sync"

	"logmule/checkpoint"
	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
)

const (
	// feedFrames bounds the frames of a batch, for frames so small that their bytes do not.
	feedFrames = 1024
	// feedKept is how many bytes of frames a feed keeps for reuse between batches.
	feedKept = 4 << 20
	// feedScan bounds the bytes that are read for one batch: what was found for it waits meanwhile.
	feedScan = 16 << 20
	// feedSkips bounds the records that are skipped before that is noted.
	feedSkips = 1 << 16
)

// feed cuts what a reader gives into batches, without what is filtered out. Together with ingest it is all that knows
// both the queue and the records. Whoever has the turn may use it; what mu guards and the methods that say so, anybody.
type feed struct {
	reader *queue.Reader
	route  route
	turn   turn

	now     *slot              // the newest frame, nil where nothing of it is left to come
	parts   []part             // of that frame
	at      int                // the first of them that is not yet in a batch
	skipped []checkpoint.Range // filtered out before any batch, and not yet marked as done
	skips   uint64             // records in them
	scanned int                // bytes of frames read since the last batch
	several bool               // there may be, or may have been, several hands at once; never changed

	mu    sync.Mutex // guards everything below
	taken []taken    // by batches that are not finished, in order
	cuts  []uint64   // where batches that were not finished have ended, in order: they are cut there again
	read  mark       // since the last rewind
	free  []*slot
	kept  int           // bytes in them
	moved chan struct{} // holds a token after a batch was finished
}

// slot is memory for a frame.
type slot struct {
	frame segment.Frame
	size  int // the largest body that it has held
	users int // batches that lie in it, and the feed while parts of it are to come; guarded by feed.mu
}

// hand is a batch in the hands of whoever delivers it, with the memory that it lies in. The zero hand is ready.
type hand struct {
	batch output.Batch
	runs  []part // those of the batch
	slots []*slot
	held  int // bytes in them
}

// fill makes h the next batch from what can be read without waiting: records of one epoch with consecutive sequences, or its
// ID could be that of other records, and at most limit bytes of them besides what is filtered out. Without any it leaves h empty, and also where there was so much to skip that
// wait has to go on with it, which ends when it has to. What h pointed to is gone then.
func (f *feed) fill(ctx context.Context, h *hand, limit int) error {
	f.release(h)
	f.scanned = 0
	err := f.gather(ctx, h, limit)
	f.settleSkipped()
	f.take(h)
	return err
}

func (f *feed) gather(ctx context.Context, h *hand, limit int) error {
	b := &h.batch
	cut := uint64(0) // where the batch has to end, 0: nowhere
	for {
		if f.at == len(f.parts) {
			if b.Len() > 0 && (len(h.slots) == feedFrames || b.Bytes() >= limit || h.held >= 2*limit) || f.scanned >= feedScan && cut == 0 {
				return nil
			}
			ok, err := f.next(ctx)
			if b.Len() > 0 && err != nil {
				return nil // it comes again when this batch is delivered
			}
			if err != nil || !ok {
				return err
			}
			continue
		}
		p := &f.parts[f.at]
		if b.Len() == 0 {
			if p.passes == 0 {
				f.skip(p)
				continue
			}
			b.First = p.first
			cut = f.cutAt(p.first)
		} else if p.first != b.Last+1 || p.epoch != h.runs[0].epoch || p.passes > 0 && b.Bytes()+p.size > limit {
			return nil
		}
		f.add(h, p)
		if b.Last == cut {
			return nil
		}
	}
}

// add puts the next part into h.
func (f *feed) add(h *hand, p *part) {
	switch {
	case p.passes == p.run.Count:
		h.batch.Add(p.run)
	case p.passes > 0:
		h.batch.AddPart(p.run, p.out, p.size)
	default:
		h.batch.AddHole(p.run.Count)
	}
	h.batch.Last = p.last()
	if last := len(h.runs) - 1; p.passes == 0 && h.runs[last].passes == 0 {
		h.runs[last].run.Count += p.run.Count
	} else {
		h.runs = append(h.runs, *p)
	}
	f.at++
	if last := len(h.slots) - 1; p.passes > 0 && (last < 0 || h.slots[last] != f.now) {
		h.slots = append(h.slots, f.now)
		h.held += int(f.now.frame.Raw)
		f.use(f.now)
	}
}

// wait returns when fill will find something or has to wait for others, with the error of the reader, or with that of ctx
// when it ends.
func (f *feed) wait(ctx context.Context) error {
	defer f.settleSkipped()
	for f.at == len(f.parts) && ctx.Err() == nil && !f.tooFar() {
		ok, err := f.next(ctx)
		if err == nil && !ok {
			f.settleSkipped()
			f.drop()
			s := f.spare()
			if _, err = f.reader.Next(ctx, &s.frame); err == nil {
				f.took(s)
			} else {
				f.unused(s)
			}
		}
		if err != nil {
			return err
		}
		for f.at < len(f.parts) && f.parts[f.at].passes == 0 {
			f.skip(&f.parts[f.at])
		}
	}
	return context.Cause(ctx)
}

// next takes the next frame, false where there is none yet.
func (f *feed) next(ctx context.Context) (bool, error) {
	f.drop()
	s := f.spare()
	ok, _, err := f.reader.TryNext(ctx, &s.frame)
	if err != nil || !ok {
		f.unused(s)
		return false, err
	}
	f.took(s)
	return true, nil
}

// rewind forgets what was read: all that is neither done nor taken comes again.
func (f *feed) rewind() {
	f.settleSkipped()
	f.parts, f.at = f.parts[:0], 0
	f.drop()
	f.reader.Rewind()
	f.again()
}

// skip passes over the next part, of which nothing is to be delivered.
func (f *feed) skip(p *part) {
	f.at++
	f.skips += uint64(p.run.Count)
	if last := len(f.skipped) - 1; last >= 0 && f.skipped[last].Last+1 == p.first {
		f.skipped[last].Last = p.last()
	} else {
		f.skipped = append(f.skipped, checkpoint.Range{First: p.first, Last: p.last()})
	}
	if f.skips >= feedSkips || len(f.skipped) >= feedFrames {
		f.settleSkipped()
	}
}

// settleSkipped marks what was skipped as done, many parts at once.
func (f *feed) settleSkipped() {
	if len(f.skipped) == 0 {
		return
	}
	f.reader.Done(nil, f.skipped...)
	f.route.filtered(f.skips)
	f.skipped, f.skips = f.skipped[:0], 0
}

// took turns a frame into parts, without the records that are done or taken: after a start or a rewind there may be some.
// Its memory is free at once where nothing of it is to be delivered.
func (f *feed) took(s *slot) {
	frame := &s.frame
	f.parts, f.at = f.parts[:0], 0
	f.scanned += int(frame.Raw)
	taken, cuts := f.note(frame)
	done := f.reader.Within(frame.First, frame.Last()) // after it is known what is taken: that becomes done
	f.route.begin()
	first := frame.First
	passes := false
	for i := range frame.Runs {
		r := &frame.Runs[i]
		p := part{epoch: f.reader.Epoch(), first: first, run: output.Run{Form: pack.Form(r.Form), Count: int(r.Count), Attributes: r.Attributes, Body: r.Body}}
		first += uint64(r.Count)
		from := len(f.parts)
		if len(done) == 0 && len(taken) == 0 && len(cuts) == 0 {
			f.parts = append(f.parts, p)
		} else {
			for _, left := range p.without(nil, done) {
				for _, left := range left.without(nil, taken) {
					f.parts = left.cutAll(f.parts, cuts)
				}
			}
		}
		for j := from; j < len(f.parts); j++ {
			f.route.judge(&f.parts[j], r.Key)
			passes = passes || f.parts[j].passes > 0
		}
	}
	if !passes {
		for i := range f.parts {
			f.parts[i].run.Attributes, f.parts[i].run.Body = nil, nil
		}
		f.unused(s)
		return
	}
	s.size = max(s.size, int(frame.Raw))
	f.use(s)
	f.now = s
}
