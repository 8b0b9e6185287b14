// Package queue is a durable queue of records in a directory of segment files. Producers append runs of records;
// readers, one for each output, take them in order with checkpointed positions. What it promises:
//
//   - a record is acknowledged only when it is stored as the sync policy says, and no reader sees it before
//   - a sequence is given once, ever
//   - a damaged byte costs the frame it stands in, is set aside, and its records are written into the loss ledger
//   - no error of the disk and no full disk ends the queue: it waits, or drops as told, and goes on by itself
//
// It knows sequences, bytes, and opaque keys and values; what a record means is the business of others. The format is
// package segment's, what happens at a start is package recovery's.
//
// Goroutines: the writer (writer.go) is the only one that writes segments; the keeper (keeper.go) saves checkpoints,
// deletes what every output has done and writes down drops; the scrubber (scrub.go) reads sealed segments and heals them; the
// tidier (aside.go) drops damaged segments that have been healed; and while a segment is being sealed there is one for that. Close waits for all of them.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// Queue is an open queue. All methods may be called from several goroutines.
type Queue struct {
	opt   Options // as opened; what can change is in limits
	lock  io.Closer
	store *checkpoint.Recent
	id    segment.ID
	epoch segment.Epoch
	start recovery.Report

	in        sync.Mutex // guards next, pending, held, closing, full*, fault
	next      uint64     // the next sequence to give
	pending   []*draft   // the group that gathers
	held      int        // raw bytes of all records accepted and not stored
	closing   bool
	full      bool
	fullSince time.Time
	fullWhy   string
	fullDisk  bool
	fault     string
	faulty    atomic.Bool // there is a fault

	waiting    atomic.Int32         // appends that wait for room
	wanted     atomic.Int64         // bytes of a large append that waits for room
	turn       chan struct{}        // holds a token while an append waits for room: who comes later waits behind it
	positioned atomic.Pointer[file] // the newest segment whose full set of positions is durable; it and what follows stays
	mark       atomic.Uint64        // the durable mark
	stored     atomic.Uint64        // what WaitDurable goes by
	files      files
	ends       ends
	passed     uint64 // all outputs had done every sequence before it when the queue was opened
	ring       *ring

	trimming  sync.Mutex // held while delivered segments are deleted, and while an output attaches
	unlinking struct {
		mu       sync.Mutex
		unsynced bool // the latest deletion of a segment may not be durable
	}
	leaving   leaving
	saving    sync.Mutex         // held over the store's Save: what is forgotten is not saved again
	outputs   sync.Mutex         // guards readers
	readers   map[string]*Reader // of every known output, in use or not
	forgotten atomic.Bool        // some output was forgotten, and the log has to be told

	forgetting forgetting

	limits        atomic.Pointer[limits]
	limitsChanged atomic.Bool             // the writer has not looked at them yet
	dropUntil     atomic.Uint64           // up to this sequence the oldest may be dropped, whatever WhenFull is by now
	activeSize    atomic.Int64            // the size that the active segment is begun with
	sealing       atomic.Pointer[sealing] // of the previous segment; nil before the first
	sources       sources

	healing      healing
	vouching     vouching
	aside        aside
	scrubbed     atomic.Int64 // when the last full pass of the scrubber ended, unix nanoseconds; 0: none has
	losses       losses
	stall        stall
	unused       checkpoint.Range // numbers that this start has left out; recovery has written down what of them is lost
	positionsDue atomic.Bool      // the keeper asks the writer for a positions frame
	reserved     atomic.Bool

	moved   broadcast // the mark, or stored, has moved
	room    broadcast // held has shrunk, or the queue is no longer full
	takes   broadcast // the disk takes data again, or answers
	saved   broadcast // checkpoints are durable
	work    nudge     // for the writer: a group gathers
	retry   nudge     // for the writer: space may have come back
	keep    nudge     // for the keeper: something has changed
	soon    nudge     // for the keeper: much has been delivered since the last save
	urgent  nudge     // for the keeper: somebody waits
	rescrub nudge     // for the scrubber: its rate has changed

	goroutines sync.WaitGroup
	stop       chan struct{} // closed: the keeper ends
	done       chan struct{} // closed: nothing moves any more
	closed     chan struct{} // closed: the directory is released
	closeErr   error

	counters counters
}

// Open locks the directory, recovers what is in it, and starts the queue. It fails only where nothing can be done: the
// directory is in use (*vfs.LockedError), cannot be made, read or written; or with opt.Until. Damage never makes it fail.
func Open(opt Options) (*Queue, error) {
	opt = opt.withDefaults()
	if err := opt.FS.MkdirAll(opt.Dir); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockDir(opt)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := setAside(opt); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	q, err := open(opt)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	q.lock = lock
	return q, nil
}

// lockDir takes the lock of the directory. It tries for a second, since stat and fsck hold it for a moment when they look
// whether a daemon runs, and a daemon that was killed may take a moment to be gone.
func lockDir(opt Options) (io.Closer, error) {
	for deadline := time.Now().Add(time.Second); ; time.Sleep(20 * time.Millisecond) {
		lock, aside, err := recovery.Lock(opt.FS, opt.Dir, opt.Holder)
		if aside != nil {
			opt.Log.Warn("set aside what stood in the place of a file of the queue", "what", aside.String())
		}
		var locked *vfs.LockedError
		if !errors.As(err, &locked) || time.Now().After(deadline) {
			return lock, err
		}
	}
}

// setAside moves to quarantine what stands in the place of the queue's own files.
func setAside(opt Options) error {
	odd, err := recovery.SetAside(opt.FS, opt.Dir)
	if isFull(err) && opt.FS.Remove(filepath.Join(opt.Dir, reserveFile)) == nil {
		odd, err = recovery.SetAside(opt.FS, opt.Dir)
	}
	for _, o := range odd {
		opt.Log.Warn("set aside what stood in the place of a file of the queue", "what", o.String())
	}
	return err
}

func open(opt Options) (*Queue, error) {
	space, err := opt.FS.Space(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for room in %s: %w", opt.Dir, err)
	}
	if err := awaitDisk(opt); err != nil {
		return nil, err
	}
	_, err = opt.FS.Stat(filepath.Join(opt.Dir, "identity"))
	fresh := errors.Is(err, fs.ErrNotExist)
	store, problems, err := opt.OpenStore(filepath.Join(opt.Dir, "checkpoints.db"))
	if err != nil {
		return nil, fmt.Errorf("open checkpoints: %w", err)
	}
	for _, p := range problems {
		if fresh && p.MovedTo == "" {
			continue // there is nothing yet that it could have lost
		}
		opt.Log.Warn("checkpoints were damaged; positions come from the log", "what", p.What, "moved_to", p.MovedTo)
	}
	recent, err := checkpoint.WithRecent(store, opt.FS, filepath.Join(opt.Dir, recovery.RecentFile))
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	store = recent
	state, err := recovery.Start(opt.FS, opt.Dir, store, recovery.Options{Source: opt.Source, Until: opt.Until})
	if isFull(err) && opt.FS.Remove(filepath.Join(opt.Dir, reserveFile)) == nil {
		opt.Log.Warn("disk is full: the reserve is spent on the start", "error", err)
		state, err = recovery.Start(opt.FS, opt.Dir, store, recovery.Options{Source: opt.Source, Until: opt.Until})
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	q := &Queue{
		opt: opt, store: recent, id: state.Queue, epoch: state.Epoch, start: state.Report,
		next: state.Next, ring: newRing(), healing: newHealing(),
		readers: map[string]*Reader{}, turn: make(chan struct{}, 1),
		work: newNudge(), retry: newNudge(), keep: newNudge(), soon: newNudge(), urgent: newNudge(), rescrub: newNudge(),
		stop: make(chan struct{}), done: make(chan struct{}), closed: make(chan struct{}),
	}
	q.aside.tidy = newNudge()
	q.stall.log, q.stall.after, q.stall.over = opt.Log, opt.stallAfter, q.takes.wake
	q.limits.Store(opt.limits().fit(opt.SegmentSize, space))
	for name, pos := range state.Outputs {
		q.readers[name] = q.knownReader(name, pos)
	}
	if q.losses.ledger, err = recovery.OpenLedger(opt.FS, opt.Dir); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	q.tallyLosses()
	for _, s := range state.Segments {
		q.files.add(recoveredFile(q.segmentDir(), s))
	}
	q.vouchOldest()
	if all := q.files.snapshot(); len(all) > 0 { // a start looks for positions in the newest two
		q.positioned.Store(all[max(len(all)-2, 0)])
	}
	if n := len(state.Segments); n > 0 {
		q.unused.First = state.Segments[n-1].Last + 1
	}
	q.unused.Last = state.Next - 1
	q.mark.Store(state.Next - 1)
	q.stored.Store(state.Next - 1)
	q.begin(state)
	q.lookAside()
	q.makeReserve()
	w := &writer{q: q, durable: state.Next - 1, written: state.Next - 1, link: state.Previous, sources: q.takeSources(state.Positions)}
	w.over = true // the older segments may have grown for positions that are no longer there, and can go only after this
	for _, name := range state.Empty {
		w.empty = append(w.empty, emptyFile(q.segmentDir(), name))
	}
	if err := w.open(); err != nil && !isFull(err) {
		return nil, errors.Join(err, q.losses.close(), store.Close())
	}
	q.goroutines.Go(w.run)
	q.goroutines.Go(q.keepUp)
	if !opt.offline {
		q.goroutines.Go(q.scrub)
		q.goroutines.Go(q.tidyUp)
	}
	return q, nil
}

func (q *Queue) segmentDir() string { return filepath.Join(q.opt.Dir, "segments") }

// ID and Epoch are two thirds of every record's identity; the sequence is the third.
func (q *Queue) ID() segment.ID { return q.id }

// Epoch is that of this start of the process.
func (q *Queue) Epoch() segment.Epoch { return q.epoch }

// Recovered is what the start found and did.
func (q *Queue) Recovered() recovery.Report { return q.start }

// publish moves the mark and gives back the memory of the records that it passed.
func (q *Queue) publish(mark uint64, held int) {
	q.mark.Store(mark)
	q.stored.Store(mark)
	q.moved.wake()
	if held > 0 {
		q.in.Lock()
		q.release(held)
		q.in.Unlock()
	}
}

// Close stores what was accepted, saves every position, seals the active segment and releases the directory. Readers
// and waiters end with ErrClosed. Where the disk refuses, Close does not wait for it: the error says what was not
// stored, and none of that had been acknowledged.
func (q *Queue) Close() error {
	q.in.Lock()
	if q.closing {
		q.in.Unlock()
		<-q.closed
		return q.closeErr
	}
	q.closing = true
	q.in.Unlock()
	q.room.wake()
	q.work.poke()
	q.retry.poke()
	close(q.stop)
	q.goroutines.Wait()
	q.endHealing()
	close(q.done)
	defer close(q.closed)
	for _, r := range q.known() {
		r.missHeld()
	}
	q.flushUnwritten()
	err := errors.Join(q.closeErr, q.forgetLogged(), q.saveCheckpoints(), q.store.Close(), q.losses.close(), q.lock.Close())
	if err != nil {
		q.closeErr = fmt.Errorf("close queue in %s: %w", q.opt.Dir, err)
	}
	return q.closeErr
}

// Sync returns when everything appended before the call is stored, or with ctx.
func (q *Queue) Sync(ctx context.Context) error { return q.WaitDurable(ctx, q.lastAppended()) }

// sleep waits, and says false when the queue is closing.
func (q *Queue) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-q.stop:
		return false
	}
}
