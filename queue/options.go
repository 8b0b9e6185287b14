package queue

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// WhenFull says what Append does while the queue has no room.
type WhenFull uint8

const (
	Block      WhenFull = iota // Append waits
	DropOldest                 // the oldest segment is deleted, delivered or not
	DropNewest                 // Append refuses with ErrDropped
)

func (w WhenFull) String() string {
	switch w {
	case DropOldest:
		return "drop_oldest"
	case DropNewest:
		return "drop_newest"
	default:
		return "block"
	}
}

// SyncMode says when written records count as stored.
type SyncMode uint8

const (
	SyncAlways   SyncMode = iota // after an fdatasync, one for each group
	SyncInterval                 // acknowledged when written, synced every Every; readers wait for the sync
	SyncNever                    // when written; a power loss costs whatever the kernel had not written
)

// SyncPolicy is when an append is acknowledged and when the disk is synced.
type SyncPolicy struct {
	Mode  SyncMode
	Every time.Duration // for SyncInterval
}

// Options are the settings of a queue. The zero value of every field but Dir works.
type Options struct {
	Dir         string          // data directory, made if it is missing
	FS          vfs.FS          // nil: the operating system's
	SegmentSize int64           // bytes of a sealed segment file; 0: 64 MiB
	MaxSize     int64           // bytes of all segments, and of what is in quarantine; 0: 10 GiB
	MinFree     int64           // bytes of the file system left to others, at most a tenth of it; negative: none; 0: 256 MiB
	WhenFull    WhenFull        // what Append does without room
	Sync        SyncPolicy      // when a record counts as stored
	Codec       segment.Codec   // compression of new frames
	KeepFor     time.Duration   // how long delivered segments are kept, in running time
	KeepSize    int64           // how many bytes of delivered segments are kept; a segment stays while KeepFor or this wants it
	ForgetAfter time.Duration   // running time after which an output that nobody reads for is forgotten; 0: never
	ScrubRate   int64           // bytes a second at which sealed segments are read and checked; 0: they are not
	NoReserve   bool            // nothing is set aside for a disk that is full
	Relief      string          // says, where MaxSize leaves no room, what gives some; empty: "outputs have to catch up"
	Holder      string          // names this process in the lock file
	Until       context.Context // Open gives up when it ends, with its cause; nil: it never does
	Log         *slog.Logger    // nil: silent

	Source func(key string) string // what a person calls the source with this key, for the loss ledger and the log; nil: the key

	offline bool // for a command: nothing is deleted, no reserve is made

	readPatience, awayPatience, stallAfter, scrubEvery time.Duration // 0: those of the constants; less in tests

	// OpenStore opens the checkpoint store; nil: checkpoint.Open on the operating system's file system.
	OpenStore func(path string) (checkpoint.Store, []checkpoint.Problem, error)
}

const (
	smallestSegment = 64 << 10

	// heldMost bounds the raw bytes of records that are accepted and not yet stored; see heldLimit.
	heldMost = 8 << 20
	// syncLimit is how much of that may wait for an interval sync before one is made early.
	syncLimit = 4 << 20
	// gatherLimit is the size below which a run is not worth a frame of its own: such runs are put together.
	gatherLimit = 16 << 10
	// markerAfter is how long the queue is idle before a marker frame makes the mark on disk exact.
	markerAfter = 100 * time.Millisecond
	// saveEvery spaces the saves of checkpoints, saveSoon while more than saveBytes are delivered in between, and
	// positionsEvery the positions frames.
	saveEvery      = 100 * time.Millisecond
	saveSoon       = 20 * time.Millisecond
	saveBytes      = 1 << 20
	positionsEvery = time.Second
	// ledgerEvery spaces the lines of the loss ledger about refused records.
	ledgerEvery = time.Second
	// tellEvery spaces the lines of the log about records that drop_oldest has dropped.
	tellEvery = 10 * time.Second
	// roomEvery is how often a full queue looks for room, and one that is written to whether it is running out.
	roomEvery = 100 * time.Millisecond
	roomCheck = 20 * time.Millisecond
	// roomRetry is when a segment that could not be deleted is tried again.
	roomRetry = 10 * time.Second
	// readChances is how often a reader tries bytes that the disk does not give, readDelay apart.
	readChances = 4
	readDelay   = 50 * time.Millisecond
	// faultDelay and faultDelayMax space the attempts to write after the disk has refused.
	faultDelay    = 100 * time.Millisecond
	faultDelayMax = 5 * time.Second
	// scrubEvery is the least time from the beginning of one pass of the scrubber to the next.
	scrubEvery = 10 * time.Second
	// stallAfter is how long the disk may take for a write and a sync until that is said.
	stallAfter = 5 * time.Second
)

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = 64 << 20
	}
	o.readPatience = cmp.Or(o.readPatience, readPatience)
	o.awayPatience = cmp.Or(o.awayPatience, awayPatience)
	o.stallAfter = cmp.Or(o.stallAfter, stallAfter)
	o.scrubEvery = cmp.Or(o.scrubEvery, scrubEvery)
	if o.Until == nil {
		o.Until = context.Background()
	}
	if o.Relief == "" {
		o.Relief = "outputs have to catch up"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.OpenStore == nil {
		o.OpenStore = func(path string) (checkpoint.Store, []checkpoint.Problem, error) {
			return checkpoint.Open(path)
		}
	}
	return o
}
