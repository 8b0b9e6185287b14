package tail

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"logmule/forward/pack"
)

// Options are what a configuration says.
type Options struct {
	Paths        []string // globs, checked
	Exclude      []string // globs, checked
	FromEnd      bool     // a file that is there at the first start ever is read from its end
	PartialAfter time.Duration
	MaxRecord    int
	Encoding     Encoding
	Multiline    *Multiline // nil: each line is a record
	GroupAfter   time.Duration
	Poll         time.Duration
	MaxOpen      int
	Grows        bool // packs grow on their way to the queue, so they begin smaller

	silent func(dir string) bool // says that watching does not work for a directory; nil: its file system says so
}

// Env is what surrounds the files.
type Env struct {
	Name       string          // of the input
	Source     string          // what the keys of packs begin with: in/NAME/
	Attributes pack.Attributes // of every record, without Logger and Timestamp
	Log        *slog.Logger
	Counters   *Counters
	Truncated  *atomic.Uint64 // records of which only the head was kept
	Positions  Positions
	Kept       func(ctx context.Context) error // returns when all that was set is durable; nil: nobody keeps it
	Memory     Memory
	Ready      func() // called when the first look is durable
	// Emit hands a pack over. stored is false where it was dropped, which is counted there; an error ends the run, but for
	// ErrTooLarge.
	Emit func(ctx context.Context, p *pack.Pack) (stored bool, err error)
	Now  func() time.Time
}

// ErrTooLarge is what Emit returns for a pack of several records that can never be stored at once: fewer are tried then.
var ErrTooLarge = errors.New("too many records at once")

// Positions is where positions of files are found again. See input.Positions.
type Positions interface {
	Load() map[string][]byte
	Set(key string, value []byte)
	Forget(keys ...string)
}

// Memory is what blocks for long records are taken from.
type Memory interface {
	Acquire(ctx context.Context, n int64) error
	Release(n int64)
}

// Counters are what is counted. Read them at any time.
type Counters struct {
	Open           atomic.Int64  // files that are open now
	Known          atomic.Int64  // files whose position is known
	ReadErrors     atomic.Uint64 // failures to open, read or list
	Rotations      atomic.Uint64 // live files that got another name, or were replaced
	Truncations    atomic.Uint64 // files that were cut, or written anew
	EncodingErrors atomic.Uint64 // characters that had to be replaced
	LostBytes      atomic.Uint64 // bytes that were there, and gone before they were read
}

// Times and amounts that are not worth a key.
const (
	rotatedAfter = time.Second      // silence after which the last bytes of a file that was renamed or removed are a record
	removedAfter = 30 * time.Second // silence after which a file without a name is closed
	idleAfter    = 5 * time.Minute  // silence after which any file is closed
	goneAfter    = 24 * time.Hour   // running time after which a file that is gone is forgotten
	historyAfter = time.Hour        // age at which a rotated file that was read is history
	copySettles  = 2 * time.Second  // age of a copy at which its file is not cut any more
	retryAfter   = time.Second      // first pause after a failure to read; then twice as long each time
	retryMost    = 30 * time.Second
	namelessPoll = time.Second                  // how often a file without a name is looked at
	movedPoll    = time.Second                  // how often it is looked whether directories are where they were
	safetyPoll   = 10 * time.Second             // a look at everything, in case that a notification was missed
	genStep      = 1 << 20                      // between the numbers of two contents, so that one may be found between them
	clockTick    = int64(20 * time.Millisecond) // by so much the time of a file may lag behind the clock
	turnSize     = 4 << 20                      // bytes that are read of a file before another one has its turn
	holeSize     = 512                          // zero bytes at the beginning of a file that are no record
	blockSize    = 256 << 10
	mostKnown    = 50_000 // positions that are kept
)

// tailer follows files. One goroutine plans: it looks which files there are, finds each known content in them, and
// says which files have something to read. A few others read, one file at a time each.
//
// mu guards what both see. What only the planner uses is said where it is.
type tailer struct {
	opt      Options
	env      Env
	patterns []pattern

	// The planner's own.
	tracks    map[string]*track // by key
	started   bool              // at least one look was taken
	globs     map[uint64]int64  // when files were looked for first under a pattern, in nanoseconds since 1970
	ignored   map[string]verdict
	copies    map[fileID]copyNote // files that are not read because they are copies
	faults    faults
	trouble   bool                        // a group has to wait for a reader
	recheck   bool                        // a file cannot be judged yet
	homes     map[string]*home            // directories of known files, without links
	searching bool                        // one of them is away
	view      *view                       // of the last look
	names     map[string]parsed           // files of the last look, by path
	told      map[string]bool             // what was logged once
	onDir     func(dir string, id fileID) // called before a directory is read; nil: nobody asks
	dry       bool                        // only a plan: nothing is set, forgotten or kept open

	cuts sparing // limits the samples of cut records in the log

	mu      sync.Mutex
	byPath  map[string]*track
	waiting map[*track]struct{} // those that are not to be read before others
	ready   []*track            // have something to read, first come first served
	more    sync.Cond
	open    map[*track]struct{} // those with an open file
	lookUp  bool                // a turn found out that a file is not what it was
	ended   bool
	wake    chan struct{} // capacity 1: a turn has ended
}

// parsed is what the name of a file says.
type parsed struct {
	group string
	rotation
}

// verdict is what was decided of a file that is not read, for as long as the file does not change.
type verdict struct {
	id          fileID
	size, mtime int64
	why         string
}

func newTailer(opt Options, env Env) *tailer {
	t := &tailer{
		opt: opt, env: env, tracks: map[string]*track{}, globs: map[uint64]int64{}, homes: map[string]*home{}, ignored: map[string]verdict{},
		copies: map[fileID]copyNote{}, waiting: map[*track]struct{}{}, told: map[string]bool{}, open: map[*track]struct{}{}, wake: make(chan struct{}, 1),
	}
	t.more.L = &t.mu
	t.faults = faults{log: env.Log, count: &env.Counters.ReadErrors, since: map[string]*fault{}}
	t.opt.Exclude = nil
	for _, text := range opt.Exclude {
		t.opt.Exclude = append(t.opt.Exclude, wholePath(text))
	}
	for _, text := range opt.Paths {
		t.patterns = append(t.patterns, newPattern(text))
	}
	t.load()
	return t
}

// once logs what is worth one line in the life of the input.
func (t *tailer) once(what, path string) {
	if key := what + path; !t.told[key] && len(t.told) < mostKnown {
		t.told[key] = true
		t.env.Log.Warn("file is skipped", "input", t.env.Name, "file", path, "why", what)
	}
}

// newSplitter makes what one reader needs to cut bytes into records.
func (t *tailer) newSplitter() *splitter {
	limit, most := bodyLimit, 0
	if t.opt.Grows {
		limit, most = growLimit, growRecords
	}
	if t.opt.Multiline != nil {
		limit -= recordExtra
	}
	return &splitter{
		limit: limit, most: most, max: t.opt.MaxRecord, encoding: t.opt.Encoding, multiline: t.opt.Multiline,
		invalid: func(n int) { t.env.Counters.EncodingErrors.Add(uint64(n)) },
	}
}
