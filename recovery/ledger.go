package recovery

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"sync"
	"time"

	"logmule/checkpoint"
	"logmule/queue/vfs"
)

// ledgerFile is the loss ledger in the data directory.
const ledgerFile = "losses.jsonl"

// maxLine bounds a line of it: what is longer is none, but what a failing disk has made of the file.
const maxLine = 16 << 20

// Loss is one line of the loss ledger: records that some or all outputs will not get, or damaged bytes that cost no record
// (Count 0). For each output a lost record is told of once; where outputs miss it one after the other there is a line for each.
type Loss struct {
	Time         time.Time `json:"time"`
	First        uint64    `json:"first"` // 0: the records never had a sequence, or none is lost
	Last         uint64    `json:"last"`
	Count        uint64    `json:"count"`
	Cause        string    `json:"cause"`
	Acknowledged string    `json:"acknowledged"` // to their source: yes, no or unknown
	Segment      string    `json:"segment,omitempty"`
	Offset       int64     `json:"offset"`
	Length       int64     `json:"length"`
	Quarantine   string    `json:"quarantine,omitempty"` // the copy of the bytes, relative to the data directory
	Outputs      []string  `json:"outputs,omitempty"`    // outputs that had not got the records; empty: all
	Sources      []string  `json:"sources,omitempty"`    // whose records they were, where that is known
}

// Values of Loss.Acknowledged.
const (
	Acknowledged        = "yes"
	NotAcknowledged     = "no"
	AcknowledgedUnknown = "unknown"
)

// CauseRewind is the cause of records that an operator has made an output skip. They are still in the queue, so that they
// can be lost for others, or after another rewind for the same output.
const CauseRewind = "rewind"

// CauseBacklog is the cause of records that one output has given up because its backlog grew over its limit. They are
// not lost: other outputs deliver them, and what happens to them later is written down as if there was no such line.
const CauseBacklog = "max_backlog"

// CauseForgotten is the cause of records that an output had not done when it was forgotten, since nobody had read for it
// for too long. They are not lost either.
const CauseForgotten = "forget_after"

// Causes of records that were given up on purpose, or could not be kept.
const (
	CauseDropOldest = "drop_oldest"
	CauseDropNewest = "drop_newest"
	CauseNotStored  = "not stored at stop"
)

// CauseEpoch is the cause of records in a segment of another life of the queue that was moved to quarantine, since the queue has given
// their sequences again: other records have them, and what happens to those is written down as if there was no such line.
const CauseEpoch = "other epoch"

// Ledger is the open loss ledger of a data directory: appended to, synced, never changed. Lines that a crash tore are
// passed over. Its methods may be called from several goroutines.
type Ledger struct {
	fsys vfs.FS
	path string

	mu struct {
		sync.Mutex
		file vfs.File // nil: not made yet, or not to be trusted after an error
		end  int64    // of the durable bytes
		torn bool     // the last durable byte is no line feed
		ledgerSums
	}
}

// ledgerSums is what has to be known of all lines.
type ledgerSums struct {
	records uint64 // without those that only one output has given up or skipped
	lines   int
	shed    uint64                        // records of max_backlog
	given   map[givenUp]checkpoint.Ranges // what outputs have given up
	bad     int                           // lines that cannot be read
	told    checkpoint.Ranges             // sequences that some line tells of
	missed  map[string]checkpoint.Ranges  // of these, by output, those whose line names it
	lost    checkpoint.Ranges             // sequences that no output will get
	spots   map[spot]struct{}             // places that are written down
	causes  causeSums
	dropped uint64            // the last sequence of drop_oldest
	gone    checkpoint.Ranges // sequences that were lost with a segment that was not there
}

// givenUp is by whom, and why.
type givenUp struct{ cause, output string }

// spot is a place in a segment that a line of the ledger tells of.
type spot struct {
	segment string
	offset  int64
}

// OpenLedger opens the ledger of the data directory dir for writing. What it holds is durable when OpenLedger returns.
// A missing file is made by the first Add.
func OpenLedger(fsys vfs.FS, dir string) (*Ledger, error) {
	l := &Ledger{fsys: fsys, path: filepath.Join(dir, ledgerFile)}
	l.mu.spots = map[spot]struct{}{}
	f, err := fsys.OpenWrite(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open loss ledger %s: %w; %s", l.path, err, writeHint(err))
	}
	if err := l.load(f); err != nil {
		return nil, fmt.Errorf("open loss ledger %s: %w", l.path, errors.Join(err, f.Close()))
	}
	return l, nil
}

// load takes over a file as it is. It is synced first: the process that appended to it may have ended before its own
// sync, and what is read here decides what is not written again.
func (l *Ledger) load(f vfs.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := l.fsys.SyncDir(filepath.Dir(l.path)); err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	whole, err := readLosses(f, size, l.mu.book)
	l.mu.bad, l.mu.end, l.mu.torn, l.mu.file = whole.bad, size, whole.torn, f
	return err
}

// book adds one line to the sums.
func (s *ledgerSums) book(loss Loss) {
	s.lines++
	s.causes.book(loss)
	if loss.Cause == CauseBacklog || loss.Cause == CauseForgotten {
		if loss.Cause == CauseBacklog {
			s.shed += loss.Count
		}
		if s.given == nil {
			s.given = map[givenUp]checkpoint.Ranges{}
		}
		for _, output := range loss.Outputs {
			by := givenUp{loss.Cause, output}
			s.given[by] = s.given[by].Add(loss.First, loss.Last)
		}
		return
	}
	if loss.Cause == CauseRewind {
		return
	}
	if loss.Segment != "" {
		s.spots[spot{loss.Segment, loss.Offset}] = struct{}{}
	}
	if loss.Cause == CauseEpoch {
		s.records += loss.Count
		return
	}
	if loss.Cause == causeMissing {
		s.gone = s.gone.Add(loss.First, loss.Last)
	}
	if loss.Cause == CauseDropOldest {
		s.dropped = max(s.dropped, loss.Last)
	}
	if loss.First == 0 {
		s.records += loss.Count
	} else {
		s.records += checkpoint.Ranges(s.told.Without(loss.First, loss.Last)).Count()
	}
	s.told = s.told.Add(loss.First, loss.Last)
	for _, output := range loss.Outputs {
		if s.missed == nil {
			s.missed = map[string]checkpoint.Ranges{}
		}
		s.missed[output] = s.missed[output].Add(loss.First, loss.Last)
	}
	if len(loss.Outputs) == 0 {
		s.lost = s.lost.Add(loss.First, loss.Last)
	}
}

// read fills in the sums of the ledger in dir, without opening it for writing.
func (s *ledgerSums) read(fsys vfs.FS, dir string) error {
	s.spots = make(map[spot]struct{})
	state, err := eachLoss(fsys, dir, s.book)
	s.bad = state.bad
	return err
}

// Add appends losses; they are durable when it returns nil. After an error none of them may be taken as written; Add
// may then be called again with the same ones.
func (l *Ledger) Add(losses ...Loss) error {
	if len(losses) == 0 {
		return nil
	}
	var lines []byte
	for _, loss := range losses {
		line, err := sealLine(loss)
		if err == nil && len(line) > maxLine {
			loss.Sources = nil
			line, err = sealLine(loss)
		}
		if err != nil {
			return fmt.Errorf("add to loss ledger %s: %w", l.path, err)
		}
		lines = append(lines, line...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	if err := l.appendLocked(lines); err != nil {
		return fmt.Errorf("add to loss ledger %s: %w", l.path, err)
	}
	l.mu.torn = false
	for _, loss := range losses {
		l.mu.book(loss)
	}
	return nil
}

// appendLocked writes behind the durable bytes. After an error the file is given up, and the next call makes a new one
// of the durable bytes and the new lines: what a failed sync says of a file cannot be relied on. Where somebody has deleted the
// file, it is made again; where somebody has cut it, the lines begin where it ends now.
func (l *Ledger) appendLocked(lines []byte) error {
	if l.mu.file == nil {
		was, err := vfs.ReadFile(l.fsys, l.path, math.MaxInt64)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return l.replaceLocked(was, lines)
	}
	size, err := l.mu.file.Size()
	if err == nil && vfs.Unlinked(l.mu.file) {
		was := make([]byte, min(size, l.mu.end))
		if _, err = (patient{l.mu.file}).ReadAt(was, 0); err == nil || err == io.EOF {
			return l.replaceLocked(was, lines)
		}
	}
	if err == nil && size != l.mu.end {
		l.mu.end, lines = size, append([]byte{'\n'}, lines...)
	}
	if err == nil {
		_, err = l.mu.file.WriteAt(lines, l.mu.end)
	}
	if err == nil {
		err = l.mu.file.Sync()
	}
	if err != nil {
		err = errors.Join(err, l.mu.file.Close())
		l.mu.file = nil
		return err
	}
	l.mu.end += int64(len(lines))
	return nil
}

// replaceLocked makes the file anew, of what of the bytes it had was durable, and new lines.
func (l *Ledger) replaceLocked(was, lines []byte) error {
	all := was[:min(l.mu.end, int64(len(was)))]
	if n := len(all); n > 0 && all[n-1] != '\n' {
		all = append(all, '\n')
	}
	all = append(all, lines...)
	if err := vfs.WriteFile(l.fsys, l.path, all); err != nil {
		return err
	}
	f, err := l.fsys.OpenWrite(l.path)
	if err != nil {
		return err
	}
	if l.mu.file != nil {
		_ = l.mu.file.Close() // it has no name any more
	}
	l.mu.file, l.mu.end = f, int64(len(all))
	return nil
}

// Untold is what of the sequences of r no line tells of.
func (l *Ledger) Untold(r checkpoint.Range) []checkpoint.Range {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.told.Without(r.First, r.Last)
}

// UntoldOf is what of the sequences of r no line says that this output, or all, had not got.
func (l *Ledger) UntoldOf(output string, r checkpoint.Range) []checkpoint.Range {
	l.mu.Lock()
	defer l.mu.Unlock()
	var untold []checkpoint.Range
	for _, part := range l.mu.lost.Without(r.First, r.Last) {
		untold = append(untold, l.mu.missed[output].Without(part.First, part.Last)...)
	}
	return untold
}

// Ungiven is what of the sequences of r no line of that cause, CauseBacklog or CauseForgotten, tells of for that output.
func (l *Ledger) Ungiven(cause, output string, r checkpoint.Range) []checkpoint.Range {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.given[givenUp{cause, output}].Without(r.First, r.Last)
}

// Total is how many lost records the ledger tells of, each counted once, and how many lines it has. Records that only one output has given
// up or skipped are not among them.
func (l *Ledger) Total() (records uint64, lines int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.records, l.mu.lines
}

// Causes is what the ledger tells of, by cause.
func (l *Ledger) Causes() []CauseLosses {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.causes.all()
}

// sums is a copy of what is known of all lines, for a caller that is the only one to add.
func (l *Ledger) sums() ledgerSums {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.ledgerSums
}

// Close closes the file. Nothing waits to be written.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.file == nil {
		return nil
	}
	err := l.mu.file.Close()
	l.mu.file = nil
	return err
}

// ReadLedger returns the losses in the ledger of dir, oldest first, without those whose lines cannot be read. It only
// reads, also beside a running daemon.
func ReadLedger(fsys vfs.FS, dir string) ([]Loss, error) {
	var losses []Loss
	_, err := eachLoss(fsys, dir, func(loss Loss) { losses = append(losses, loss) })
	return losses, err
}

// eachLoss calls fn with every loss in the ledger of dir. A missing ledger holds none.
func eachLoss(fsys vfs.FS, dir string, fn func(Loss)) (lineState, error) {
	path := filepath.Join(dir, ledgerFile)
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) { // no file: the next start sets it aside
		return lineState{}, nil
	}
	if err != nil {
		return lineState{}, fmt.Errorf("read loss ledger: %w", err)
	}
	size, err := f.Size()
	var state lineState
	if err == nil {
		state, err = readLosses(f, size, fn)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return state, fmt.Errorf("read loss ledger %s: %w", path, err)
	}
	return state, nil
}

// lineState is what is wrong with the lines of a ledger.
type lineState struct {
	bad  int
	torn bool
}

func readLosses(f io.ReaderAt, size int64, fn func(Loss)) (lineState, error) {
	var state lineState
	r := bufio.NewReaderSize(&lineReader{f: f, size: size}, 64<<10)
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			line = append(line, part[:min(len(part), maxLine+1-len(line))]...)
			continue
		}
		line = append(line, part[:min(len(part), maxLine+1-len(line))]...)
		state.torn = err == io.EOF && len(line) > 0
		line = bytes.TrimSuffix(line, []byte("\n"))
		var loss Loss
		switch {
		case len(line) == 0:
		case openLine(line, &loss) != nil:
			state.bad++
		default:
			fn(loss)
		}
		if err == io.EOF {
			return state, nil
		}
		if err != nil {
			return state, err
		}
		line = line[:0]
	}
}

// lineReader reads a file of lines. A hole, which may be far larger than the file has a right to be, is passed over: no line ends in it.
type lineReader struct {
	f        io.ReaderAt
	at, size int64
}

func (r *lineReader) Read(b []byte) (int, error) {
	left := r.size - r.at
	if left <= 0 {
		return 0, io.EOF
	}
	if data := min(vfs.NextData(r.f, r.at), r.size); data > r.at {
		r.at, b[0] = data, 0 // for all of its zeros
		return 1, nil
	}
	n, err := (patient{r.f}).ReadAt(b[:min(int64(len(b)), left)], r.at)
	r.at += int64(n)
	if err == io.EOF && n > 0 {
		err = nil
	}
	return n, err
}
