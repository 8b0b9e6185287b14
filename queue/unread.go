package queue

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"logmule/queue/segment"
)

// How long a reader asks again for bytes that the disk refuses to give, before their records count as lost. A disk that is
// reached over a network, or whose controller starts anew, refuses everything for a while and then has it all.
const (
	readPatience = 5 * time.Second // for a part of a segment behind which there are good frames: a bad sector
	awayPatience = time.Minute     // for all that is left of a segment; without limit where no segment can be read

	askedSeldom = 30 * time.Second // longer between two refusals: the disk may have given everything meanwhile
)

// unread is what a reader has asked the disk for in vain.
type unread struct {
	next  uint64    // the sequence that it needs
	since time.Time // of the first refusal
	asked time.Time // of the latest
}

// withheld is an error as long as the bytes in front of a loss may still come. followed says that there are good frames
// behind them. The caller comes back later, and the segment is opened anew then.
func (r *Reader) withheld(followed bool) error {
	why := refusal(r.bad)
	if why == nil {
		return nil
	}
	waited := r.waited()
	if followed && waited >= r.q.opt.readPatience || waited >= r.q.opt.awayPatience && r.q.givesAny() {
		return nil
	}
	path := r.in.path
	r.closeFile()
	return fmt.Errorf("read %s: %w; nothing is given up yet, it is asked for again", path, why)
}

// waited is how long the reader has now asked in vain for the record that it needs.
func (r *Reader) waited() time.Duration {
	now := time.Now()
	if r.unread.next != r.next || now.Sub(r.unread.asked) > askedSeldom {
		r.unread = unread{next: r.next, since: now}
	}
	r.unread.asked = now
	return now.Sub(r.unread.since)
}

// refusal is the first error of the file system in bad ranges; nil: all could be read.
func refusal(bad []segment.Part) error {
	for _, part := range bad {
		if _, refused := errors.AsType[syscall.Errno](part.Err); refused {
			return part.Err
		}
	}
	return nil
}

// givesAny says whether the disk gives the beginning of any segment.
func (q *Queue) givesAny() bool {
	for _, f := range q.files.snapshot() {
		handle, err := q.opt.FS.Open(f.path)
		if err != nil {
			continue
		}
		_, err = handle.ReadAt(make([]byte, 8), 0)
		_ = handle.Close() // it was only read
		if err == nil {
			return true
		}
	}
	return false
}
