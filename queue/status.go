package queue

import (
	"sort"
	"sync/atomic"
	"time"

	"logmule/recovery"
)

// counters count since the queue was opened.
type counters struct {
	records, rawBytes, storedBytes             atomic.Uint64
	syncs, syncNanos, syncErrors               atomic.Uint64
	saves, saveErrors, sealErrors              atomic.Uint64
	droppedOldest, droppedNewest, droppedBytes atomic.Uint64
	damaged, unstored                          atomic.Uint64
	ledger                                     atomic.Uint64 // lost records in it: its own lock may wait for the disk
	causes                                     atomic.Pointer[[]recovery.CauseLosses]
	forgotten, forgottenRecords                atomic.Uint64
	healed, healedBytes, healErrors            atomic.Uint64
	scrubbedBytes                              atomic.Uint64
	tidied                                     atomic.Uint64
}

// Status is the state of a queue at one moment.
type Status struct {
	Dir      string
	Mark     uint64 // the durable mark
	Retained uint64 // records in the segments
	Next     uint64 // the next sequence
	First    uint64 // the oldest retained sequence
	Segments int
	Bytes    int64 // of all segments on the disk
	MaxSize  int64
	Held     int // raw bytes accepted and not yet stored

	Full      bool
	FullSince time.Time
	FullWhy   string
	FullDisk  bool // it is the file system, not MaxSize
	WhenFull  WhenFull
	Fault     string // why the disk refuses data, empty: it does not
	Stall     string // how long the disk has not answered, empty: it does

	Records, RawBytes, StoredBytes uint64 // written since the queue was opened
	Syncs, SyncErrors              uint64
	SyncTime                       time.Duration // spent in all syncs together
	Saves, SaveErrors              uint64        // of checkpoints
	SealErrors                     uint64
	DroppedOldest, DroppedNewest   uint64                 // records
	Damaged                        uint64                 // records lost to damage met while reading
	Losses                         []recovery.CauseLosses // what the loss ledger tells of, by cause; of all times
	LedgerRecords                  uint64                 // records in the loss ledger, of all times, without those that one output alone has given up
	Forgotten, ForgottenRecords    uint64                 // outputs, and what they had not done

	Healed, HealedBytes uint64    // segments made good on the disk, and what of them
	HealErrors          uint64    // healings that had to wait: no room, or bytes that cannot be read now
	ScrubbedBytes       uint64    // read and checked by the scrubber
	Scrubbed            time.Time // when its last full pass ended; zero: none since the queue was opened

	Quarantine      int    // files in quarantine
	QuarantineBytes int64  // that they take, which count in MaxSize
	Tidied          uint64 // damaged segments dropped from it since they had been healed

	KeptBytes int64 // of segments that every output has done
	Sources   int   // sources with a position

	Outputs []OutputStatus // by name
}

// OutputStatus is how far one output is.
type OutputStatus struct {
	Name           string
	Attached       bool   // false: known from its checkpoint, not in use now; its records are held
	Floor          uint64 // every record below is done
	BacklogRecords uint64
	BacklogBytes   int64     // stored bytes, estimated
	Oldest         time.Time // when the oldest record it was given and has not done was appended; zero: none
	Lost           uint64    // records that never came, since the queue was opened
	Shed           uint64    // records given up because its backlog was too large, since the queue was opened

	ForgottenIn time.Duration // when it is forgotten, if nobody reads for it until then; 0: never
}

// Status gathers the state. It is cheap enough for a scrape a second.
func (q *Queue) Status() Status {
	c, lim := &q.counters, q.limits.Load()
	s := Status{
		Dir: q.opt.Dir, Mark: q.mark.Load(), First: q.files.first(q.mark.Load()), Bytes: q.files.bytes(), MaxSize: lim.MaxSize, WhenFull: lim.WhenFull,
		Segments: len(q.files.snapshot()),
		Records:  c.records.Load(), RawBytes: c.rawBytes.Load(), StoredBytes: c.storedBytes.Load(),
		Syncs: c.syncs.Load(), SyncErrors: c.syncErrors.Load(), SyncTime: time.Duration(c.syncNanos.Load()),
		Saves: c.saves.Load(), SaveErrors: c.saveErrors.Load(), SealErrors: c.sealErrors.Load(),
		DroppedOldest: c.droppedOldest.Load(), DroppedNewest: c.droppedNewest.Load(), Damaged: c.damaged.Load(),
		Forgotten: c.forgotten.Load(), ForgottenRecords: c.forgottenRecords.Load(), Sources: q.sources.count(),
	}
	s.Healed, s.HealedBytes, s.HealErrors, s.ScrubbedBytes = c.healed.Load(), c.healedBytes.Load(), c.healErrors.Load(), c.scrubbedBytes.Load()
	s.Quarantine, s.QuarantineBytes, s.Tidied = int(q.aside.files.Load()), q.aside.room.Load(), c.tidied.Load()
	if at := q.scrubbed.Load(); at > 0 {
		s.Scrubbed = time.Unix(0, at)
	}
	_, s.KeptBytes = q.delivered()
	s.Retained = q.files.records(s.First, s.Mark)
	s.Stall = q.stall.text()
	q.in.Lock()
	s.Next, s.Held, s.Full, s.FullSince, s.FullWhy, s.FullDisk, s.Fault = q.next, q.held, q.full, q.fullSince, q.fullWhy, q.fullDisk, q.fault
	q.in.Unlock()
	s.LedgerRecords = c.ledger.Load()
	if causes := c.causes.Load(); causes != nil {
		s.Losses = *causes
	}
	for _, r := range q.known() {
		r.progress.mu.Lock()
		o := OutputStatus{Name: r.name, Attached: r.attached, Floor: r.floor, Lost: r.progress.lost, Shed: r.shed}
		r.progress.mu.Unlock()
		o.Oldest, o.ForgottenIn = r.lag(), q.left(&r.progress)
		o.BacklogRecords, o.BacklogBytes = r.Backlog()
		s.Outputs = append(s.Outputs, o)
	}
	sort.Slice(s.Outputs, func(i, j int) bool { return s.Outputs[i].Name < s.Outputs[j].Name })
	return s
}
