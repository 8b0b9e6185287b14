package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// track is one content and how far it was read: what one file held from its creation or truncation on, wherever it is
// now. It keeps its key for ever.
type track struct {
	key  string
	base string // path of the file that the content was written to, or its first known one, without links

	// The planner's own; the first four as in pos.
	id      fileID
	born    int64
	gen     uint64
	name    string
	group   string    // what groupOf says of base
	at      *sight    // the file that holds it; nil: none is known
	missing time.Time // since when
	trusted bool      // the file was found to hold the content since the start
	fresh   bool      // made by the current look
	before  []barrier // what is to be read first

	// Guarded by tailer.mu. While busy, only the reader changes pos.
	pos     position
	busy    bool // a reader has it
	queued  bool // it is in tailer.ready
	again   bool // something happened while it was busy
	state   state
	seen    int64     // size of the file when it was seen last
	held    bool      // it may have been cut without a trace: the next look decides
	lined   bool      // it is behind what has to be read before it, or nothing has to
	away    bool      // no file has it
	adrift  time.Time // since when its directory cannot be listed; zero: it can
	dropped bool      // it is not known any more
	lastUse time.Time
	opened  time.Time

	// Of the reader while busy, else of the planner.
	src    *source
	head   []byte // the first bytes of the content, as pos.head has them
	window []byte // the bytes before pos.offset, as pos.tail has them
	hole   bool   // all bytes so far are zero
}

// state is what a turn found out.
type state struct {
	changed bool  // the file holds another content
	moved   bool  // the file is not where it was
	atEnd   bool  // all that there was has been read, but for rest
	rest    int64 // bytes after the offset that are not a whole record yet
	held    int64 // so many of them were there when the file was begun at its end, and are no record for that
	restAt  time.Time
	grownAt time.Time // when the last bytes were read
	size    int64     // of the file
	mtime   int64
	unnamed bool // the file has no name any more
	broken  bool // a compressed file broke off there
	fault   error
	retryAt time.Time
	pause   time.Duration
}

// barrier is a track and how far it has to be read before a later one.
type barrier struct {
	of   *track
	upto int64
}

func (tr *track) gzip() bool { return tr.pos.flags&flagGzip != 0 }
func (tr *track) done() bool { return tr.pos.flags&flagDone != 0 }

// renamed says whether the file has another name than the one that was written to.
func (tr *track) renamed() bool { return tr.at == nil || tr.at.path != tr.base }

// nameless says whether the file cannot be opened again once it is closed. The caller has tailer.mu.
func (tr *track) nameless() bool { return tr.state.unnamed || tr.at == nil || !tr.adrift.IsZero() }

// where is a name for the log.
func (tr *track) where() string {
	if tr.at != nil {
		return tr.at.path
	}
	return tr.base
}

// checked opens the file at path and makes sure that it holds the content at p. On an error nothing is open.
func checked(path string, id fileID, gz bool, p *position) (src *source, head, window []byte, err error) {
	opened, info, err := openSource(path, id, gz)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			opened.close()
		}
	}()
	if !gz && info.Size() < p.offset {
		return nil, nil, nil, fmt.Errorf("%d bytes are left of %d: %w", info.Size(), p.offset, errChanged)
	}
	if head, err = opened.section(p.head, 0); err != nil {
		return nil, nil, nil, err
	}
	if window, err = opened.section(p.tail, p.offset-int64(p.tail.n)); err != nil {
		return nil, nil, nil, err
	}
	return opened, head, window, nil
}

// section reads the bytes that want stands for at offset.
func (s *source) section(want fingerprint, offset int64) ([]byte, error) {
	if want.n == 0 {
		return nil, nil
	}
	b := make([]byte, want.n)
	n, err := s.readAt(b, offset)
	if n < len(b) && err != io.EOF {
		return nil, err
	}
	if fingerprintOf(b[:n]) != want {
		return nil, errChanged
	}
	return b, nil
}

// close closes the file. The caller has the track.
func (t *tailer) close(tr *track) {
	if tr.src == nil {
		return
	}
	tr.src.close()
	tr.src, tr.head, tr.window = nil, nil, nil
	t.mu.Lock()
	delete(t.open, tr)
	t.mu.Unlock()
	t.env.Counters.Open.Add(-1)
}

// keepOpen takes note of an open file. The caller has the track.
func (t *tailer) keepOpen(tr *track, src *source, head, window []byte) {
	tr.src, tr.head, tr.window = src, head, window
	t.env.Counters.Open.Add(1)
	t.mu.Lock()
	t.open[tr] = struct{}{}
	tr.lastUse = t.env.Now()
	tr.opened = tr.lastUse
	full := len(t.open) > t.opt.MaxOpen
	t.mu.Unlock()
	if full {
		t.closeOne(tr)
	}
}

// closeOne closes the file that was not used for the longest time, so that another one can be open. One without a name
// cannot be opened again, so it is the last choice.
func (t *tailer) closeOne(but *track) {
	t.mu.Lock()
	var oldest *track
	for tr := range t.open {
		if tr == but || tr.busy {
			continue
		}
		if oldest == nil || tr.nameless() != oldest.nameless() && !tr.nameless() ||
			tr.nameless() == oldest.nameless() && tr.lastUse.Before(oldest.lastUse) {
			oldest = tr
		}
	}
	if oldest != nil {
		oldest.busy = true
	}
	t.mu.Unlock()
	if oldest == nil {
		return
	}
	t.close(oldest)
	t.giveBack(oldest)
}

// hold takes a track that no reader has, so that none gets it before giveBack.
func (t *tailer) hold(tr *track) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr.busy {
		return false
	}
	tr.busy = true
	return true
}

// giveBack ends hold.
func (t *tailer) giveBack(tr *track) {
	t.mu.Lock()
	tr.busy = false
	if tr.again && !tr.dropped {
		tr.again = false
		t.enqueueLocked(tr)
	}
	t.mu.Unlock()
}

// enqueueLocked says that the file may have something to read.
func (t *tailer) enqueueLocked(tr *track) {
	switch {
	case tr.busy:
		tr.again = true
	case !tr.queued:
		tr.queued = true
		t.ready = append(t.ready, tr)
		t.more.Signal()
	}
}

// gone says whether err means that the file is not where it was.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, errMoved) }

// extendHead takes up the first bytes of a content, of which b are those at offset.
func (tr *track) extendHead(p *position, offset int64, b []byte) {
	have := int64(len(tr.head))
	if have >= headSize || offset > have || offset+int64(len(b)) <= have {
		return
	}
	b = b[have-offset:]
	tr.head = append(bytes.Clone(tr.head), b[:min(len(b), headSize-int(have))]...)
	p.head = fingerprintOf(tr.head)
}
