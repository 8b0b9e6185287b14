package states

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// phase is one kind of run whose crash states are tried.
type phase struct {
	name    string
	what    string                    // is done, for the table
	change  func(o *queue.Options)    // of the options that all have; nil: nothing
	prepare func(l *life) *faultfs.FS // lives before the recording, and returns the disk; nil: an empty one
	run     func(l *life)             // lives while it is recorded
	causes  []string                  // of lines of the ledger that excuse a loss
	calm    bool                      // positions go into the log every second
	loose   bool                      // records may be lost; what there is is still true
	heals   bool                      // segments are damaged at first, within the reach of their parity: no record is lost
}

// phases are all of them. Whatever comes to change the disk in a new way, such as a repair that heals, gets its phase here:
// which losses it may leave is in causes and in what prepare notes of its damage; all else is judged as ever.
var phases = []phase{
	{
		name: "ingest", what: "ingest from 3 sources, roll, seal, trim behind the checkpoints of 2 outputs", calm: true,
		run: func(l *life) {
			l.open()
			l.follow("a", 30*time.Millisecond)
			l.follow("b", 90*time.Millisecond)
			l.ingest(load{sources: 3, packs: 11, most: 4, size: 12000, pause: 400 * time.Millisecond})
			l.close()
		},
	},
	{
		name: "small", what: "many small appends at once", calm: true,
		change: func(o *queue.Options) { o.Codec = segment.None },
		run: func(l *life) {
			l.open()
			l.follow("a", 10*time.Millisecond)
			l.ingest(load{sources: 4, packs: 8, most: 3, size: 300, pause: 150 * time.Millisecond})
			time.Sleep(2 * logBehind) // now the log has the positions
			l.ingest(load{sources: 4, packs: 6, most: 3, size: 300, pause: 150 * time.Millisecond})
			l.close()
		},
	},
	{
		name: "moves", what: "positions of sources with and without records, and their removal", calm: true,
		run: func(l *life) {
			l.open()
			l.follow("a", 0)
			l.moves(40)
			l.close()
		},
	},
	{
		name: "interval", what: "sync every 5 ms: written is acknowledged, synced is read",
		change: func(o *queue.Options) {
			o.Sync = queue.SyncPolicy{Mode: queue.SyncInterval, Every: 5 * time.Millisecond}
		},
		run: func(l *life) {
			l.open()
			l.follow("a", 20*time.Millisecond)
			l.ingest(load{sources: 3, packs: 14, most: 4, size: 9000, pause: 10 * time.Millisecond})
			l.moves(8)
			l.close()
		},
	},
	{
		name: "never", what: "sync never: records may be lost, none altered or invented", loose: true,
		change: func(o *queue.Options) { o.Sync.Mode = queue.SyncNever },
		run: func(l *life) {
			l.open()
			l.follow("a", 20*time.Millisecond)
			l.ingest(load{sources: 3, packs: 14, most: 4, size: 9000, pause: 10 * time.Millisecond})
			l.close()
		},
	},
	{
		name: "forget", what: "an output is forgotten while another goes on", causes: []string{"forget_after"},
		run: func(l *life) {
			l.open()
			l.follow("a", 10*time.Millisecond)
			end := l.follow("b", 400*time.Millisecond)
			l.ingest(load{sources: 3, packs: 8, most: 3, size: 9000, pause: 200 * time.Millisecond})
			end()
			l.m.forgets("b")
			if err := l.q.Forget("b"); err != nil {
				l.t.Errorf("forget: %v", err)
			}
			l.ingest(load{sources: 3, packs: 6, most: 3, size: 9000, pause: 500 * time.Millisecond})
			l.close()
		},
	},
	{
		name: "block", what: "max_size reached, when_full = block, the limit lowered meanwhile",
		change: limited(queue.Block, 2<<20),
		run: func(l *life) {
			l.open()
			l.follow("a", 600*time.Millisecond)
			l.ingest(load{sources: 3, packs: 30, most: 2, size: 30000, pause: 50 * time.Millisecond})
			l.q.SetLimits(queue.Limits{MaxSize: 1 << 20, MinFree: -1, WhenFull: queue.Block})
			l.ingest(load{sources: 3, packs: 14, most: 2, size: 30000, patience: 2 * time.Second})
			l.close()
		},
	},
	{
		name: "oldest", what: "max_size reached, when_full = drop_oldest", causes: []string{"drop_oldest"},
		change: limited(queue.DropOldest, 1<<20),
		run: func(l *life) {
			l.open()
			l.follow("a", 2*time.Second)
			l.follow("b", 100*time.Millisecond)
			l.ingest(load{sources: 3, packs: 50, most: 3, size: 30000, pause: 50 * time.Millisecond})
			l.close()
		},
	},
	{
		name: "newest", what: "max_size reached, when_full = drop_newest",
		change: limited(queue.DropNewest, 1<<20),
		run: func(l *life) {
			l.open()
			l.follow("a", 2*time.Second)
			l.ingest(load{sources: 3, packs: 50, most: 3, size: 30000, pause: 50 * time.Millisecond})
			l.close()
		},
	},
	{name: "full", what: "disk full in the middle of records, of a roll and of checkpoints, and room again", run: fullDisk},
	{name: "faults", what: "EIO from fdatasync, write, create, rename, remove and directory sync of every kind of file", run: failing, prepare: lived},
	{name: "restart", what: "a start after a kill: recovery, sealing, more records", run: restart, prepare: killed},
	{name: "damage", what: "damaged frames: quarantine and loss ledger, by the start and by readers", run: restart, prepare: damaged,
		causes: []string{"checksum", "zeroed", "truncated", "missing segment", "header"}},
	{name: "heal", what: "damaged sealed segments: healed by the start and by readers, the damaged ones kept", run: restart, prepare: scratched, heals: true},
	{name: "rewind", what: "an output is rewound", prepare: lived, run: func(l *life) {
		l.m.rewinds("a")
		if _, err := queue.Rewind(l.opt, "a", queue.Target{Oldest: true}); err != nil {
			l.t.Errorf("rewind: %v", err)
		}
		restart(l)
	}},
}

func limited(when queue.WhenFull, size int64) func(o *queue.Options) {
	return func(o *queue.Options) { o.WhenFull, o.MaxSize = when, size }
}

// moves changes positions of a few sources, some with records.
func (l *life) moves(n int) {
	for i := range n {
		key, value := fmt.Sprintf("in/%d", l.rng.IntN(3)), fmt.Sprintf("%s-m%d", l.name, i)
		switch l.rng.IntN(6) {
		case 0:
			l.m.moved(key, value)
			l.q.SetSource(key, []byte(value))
		case 1:
			l.m.moved(key, "")
			l.q.ForgetSource(key)
		case 2:
			if l.wait(l.ctx, l.q.Status().Next-1) {
				time.Sleep(2200 * time.Millisecond)
				l.m.settled()
			}
		default:
			if last, ok := l.pack(l.ctx, l.rng, key, value, 1, l.rng.IntN(4)*5000); ok && l.rng.IntN(2) == 0 {
				l.wait(l.ctx, last)
			}
		}
	}
}

// restart is a start on whatever there is, and a short life after it, with the outputs that there were.
func restart(l *life) {
	l.open()
	l.fs.SetFree(1 << 30) // whoever had no room has some now
	for i, name := range slices.Sorted(maps.Keys(l.m.outputs)) {
		if l.m.outputs[name].gone == never {
			l.follow(name, time.Duration(10+50*i)*time.Millisecond)
		}
	}
	l.ingest(load{sources: 3, packs: 4, most: 3, size: 9000, pause: 400 * time.Millisecond})
	l.close()
}
