package queue

import (
	"context"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"logmule/recovery"
)

// aside is what the queue knows of its quarantine. It counts in MaxSize, within bounds: however much was damaged, the queue
// has room to go on. Segments that healed ones have replaced lose nothing: the oldest of them go where they take more than
// an eighth of MaxSize, and where the queue is short of room. All else stays until somebody drops it.
type aside struct {
	files atomic.Int64
	room  atomic.Int64 // bytes that they take
	tidy  nudge        // for the tidier: something has changed

	mu      sync.Mutex // guards what follows
	refused string     // why it could not be listed, as the log has it
	over    bool       // it takes more than counts, and that was said
}

const (
	// asideShare is the part of MaxSize that replaced segments may take.
	asideShare = 8
	// asideEvery spaces the looks into a quarantine that is not empty, asideFull those while the queue is full: somebody may
	// have dropped some of it.
	asideEvery = 2 * time.Second
	asideFull  = 250 * time.Millisecond
)

// asideCounts is how much of what is in quarantine counts in MaxSize: at most half of it, and not what the newest segments
// and what is in memory need, so that a queue whose outputs have done everything is never full.
func (q *Queue) asideCounts() int64 {
	limit := q.limits.Load().MaxSize
	most := min(limit/2, limit-q.ahead()-q.tail()-3*max(q.segmentSize(), q.activeSize.Load()))
	return min(q.aside.room.Load(), max(most, 0))
}

// lookAside finds out what is in quarantine.
func (q *Queue) lookAside() {
	q.aside.mu.Lock()
	defer q.aside.mu.Unlock()
	files, room, err := recovery.QuarantineRoom(q.opt.FS, q.opt.Dir)
	if err != nil {
		if text := err.Error(); q.aside.refused != text {
			q.aside.refused = text
			q.opt.Log.Warn("quarantine cannot be looked at; what it took the last time counts", "error", err)
		}
		return
	}
	q.aside.refused = ""
	was := q.aside.room.Swap(room)
	q.aside.files.Store(int64(files))
	if over := room > q.asideCounts(); over != q.aside.over {
		q.aside.over = over
		if over {
			q.opt.Log.Warn("quarantine takes more than is counted in max_size; look at it with \"logmule quarantine list\", and drop what nobody needs",
				"dir", q.opt.Dir, "bytes", room, "counted", q.asideCounts())
		}
	}
	if room < was {
		q.retry.poke()
	}
}

// tidyUp is the tidier: it sleeps until something comes into quarantine or the queue runs out of room.
func (q *Queue) tidyUp() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("queue", "tidier")))
	originals := recovery.Originals{FS: q.opt.FS, Dir: q.opt.Dir}
	refused := "" // as the log has it
	for {
		err := q.tidyOnce(&originals)
		if err == nil {
			refused = ""
		} else if text := err.Error(); text != refused {
			refused = text
			q.opt.Log.Warn("quarantine cannot be tidied up; trying again", "error", err)
		}
		wait := asideEvery
		if q.isFullNow() {
			wait = asideFull
		}
		again := time.NewTimer(wait)
		rest := again.C
		if q.aside.files.Load() == 0 {
			rest = nil
		}
		select {
		case <-q.aside.tidy:
		case <-rest:
		case <-q.stop:
			again.Stop()
			return
		}
		again.Stop()
		if !q.sleep(roomEvery) {
			return
		}
	}
}

// tidyOnce drops of the replaced segments what has to go.
func (q *Queue) tidyOnce(originals *recovery.Originals) error {
	q.lookAside()
	dropped, err := originals.Trim(q.limits.Load().MaxSize/asideShare, q.isClosing)
	q.tellTidied(dropped, "they took more than an eighth of max_size")
	if err != nil || q.aside.room.Load() == 0 {
		return err
	}
	dropped, err = originals.Trim(0, func() bool {
		q.lookAside()
		return q.isClosing() || !q.isShort(q.wanted.Load())
	})
	q.tellTidied(dropped, "the queue needs the room")
	return err
}

func (q *Queue) tellTidied(dropped []recovery.Kept, why string) {
	if len(dropped) == 0 {
		return
	}
	var room int64
	for _, k := range dropped {
		room += k.Room
	}
	q.counters.tidied.Add(uint64(len(dropped)))
	q.opt.Log.Warn("damaged segments dropped from quarantine, of which everything stands in healed ones", "files", len(dropped), "bytes", room,
		"oldest", dropped[0].Name, "why", why)
	q.lookAside()
}
