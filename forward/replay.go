package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"logmule/checkpoint"
	"logmule/forward/config"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// replayPatience is how long a replay waits before it looks why the queue takes nothing.
const replayPatience = 2 * time.Second

const replayRest = "replay the rest"

// The queue does not give up at once what the disk refuses. A replay asks for it again that often, and longer than the queue takes
// to give up a part of a disk that gives others.
const (
	replayPause = 250 * time.Millisecond
	replayAsks  = 90 * time.Second
)

// ReplayOptions say what a replay puts back, and where.
type ReplayOptions struct {
	From   string         // a dead-letter queue
	Into   string         // a data directory
	Output string         // of Into, which gets all of them; empty: each goes to the output that refused it
	Config *config.Config // its [queue] bounds Into
	Holder string         // names this process in the lock files
	Log    *slog.Logger   // nil: silent

	fsys vfs.FS // nil: the operating system's
	open func(queue.Options) (*queue.Queue, error)
}

// Replayed is what a replay has done.
type Replayed struct {
	Records     uint64            // put back
	Outputs     map[string]uint64 // the same by output
	First, Last uint64            // sequences that they have now
	Before      uint64            // records that a replay which was interrupted had put back
	Lost        uint64            // dead letters that are destroyed
	All         uint64            // the number of the newest dead letter
}

// Replay puts dead letters back into the queue that their records came from, or another one, while no process has either
// open. Each goes to one output, as the record that it was: without the fields that made it a dead letter. Every dead
// letter is put back once, over any number of replays, however they end: with the record Into stores which dead letter it
// was. The dead letters' queue deletes what is put back as it deletes what is delivered. After an error Replayed says how
// far it came; the next replay goes on there.
func Replay(ctx context.Context, opt ReplayOptions) (done Replayed, err error) {
	if opt.open == nil {
		opt.fsys, opt.open = vfs.OS(), queue.Open
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	for _, dir := range []string{opt.Into, opt.From} {
		if err := recovery.IsDataDir(opt.fsys, dir); err != nil {
			return done, err
		}
	}
	into := backOptions(opt.Config, opt.Into, opt.Holder, opt.Log)
	from := letterOptions(opt.Config, opt.From, opt.Log)
	from.WhenFull, from.Holder, from.KeepFor = queue.Block, opt.Holder, 0
	from.KeepSize, from.ScrubRate, from.MaxSize = 0, 0, math.MaxInt64/2 // nothing is added to it
	r := replay{output: opt.Output, dir: opt.From, done: Replayed{Outputs: map[string]uint64{}}}
	if r.into, err = opt.open(into); err != nil {
		return done, fmt.Errorf("open %s: %w", opt.Into, err)
	}
	defer func() { err = errors.Join(err, r.into.Close()) }()
	if r.from, err = opt.open(from); err != nil {
		return done, fmt.Errorf("open %s: %w", opt.From, err)
	}
	defer func() { err = errors.Join(err, r.from.Close()) }()
	err = r.run(ctx)
	return r.done, err
}

// backOptions are those of a queue that takes records while no daemon runs.
func backOptions(cfg *config.Config, dir, holder string, log *slog.Logger) queue.Options {
	opt := queueOptions(cfg, dir, log)
	opt.WhenFull, opt.Holder = queue.Block, holder
	opt.Sync = queue.SyncPolicy{Mode: queue.SyncAlways}
	opt.ScrubRate = 0                               // a command does what it is asked for
	opt.ForgetAfter, opt.KeepFor = 0, math.MaxInt64 // what is delivered goes when the daemon says so, or for room
	return opt
}

// replay is one Replay under way.
type replay struct {
	from, into *queue.Queue
	dir        string // of from
	output     string
	reader     *queue.Reader
	marks      []replayMark // how far earlier replays came
	before     uint64       // met since the reader began: dead letters that they have put back
	lost       checkpoint.Ranges
	done       Replayed
}

func (r *replay) run(ctx context.Context) error {
	for key, position := range r.into.Sources(keyOfOutput) {
		mark, err := parseReplayMark(string(position))
		if err != nil {
			return fmt.Errorf("read how far %s has been replayed, %s%s: %w", r.dir, keyOfOutput, key, err)
		}
		r.marks = append(r.marks, mark)
	}
	r.done.All = r.from.Status().Mark
	r.reader = r.from.Preview(ReplayName)
	some, err := r.look(ctx)
	r.reader.Close()
	if err != nil {
		return err
	}
	for _, lost := range r.lost {
		r.done.Lost += lost.Last - lost.First + 1
	}
	r.done.Before = r.before
	if !some {
		return nil // and nothing is attached to what may be another queue
	}
	r.reader = r.from.Reader(ReplayName, queue.Oldest)
	defer r.reader.Close()
	err = r.each(ctx, func(f *segment.Frame, letters []letter) error { return r.put(ctx, f, letters) })
	if err != nil {
		return err
	}
	return r.reader.Checkpoint(ctx)
}

// letter is a dead letter that is to be put back.
type letter struct {
	output string // that gets it
	mark   replayMark
	run    segment.Run // as it is put back, but for Key and Position
}

// look makes sure, before anything is moved, that all of them can be, and says whether there are any.
func (r *replay) look(ctx context.Context) (some bool, err error) {
	known := map[string]bool{}
	for _, o := range r.into.Status().Outputs {
		known[o.Name] = true
	}
	unknown := map[string]uint64{}
	if r.output != "" && !known[r.output] {
		unknown[r.output] = 0
	}
	err = r.each(ctx, func(_ *segment.Frame, letters []letter) error {
		some = true
		for _, l := range letters {
			if !known[l.output] {
				unknown[l.output] += uint64(l.run.Count)
			}
		}
		return nil
	})
	if err != nil || len(unknown) == 0 {
		return some, err
	}
	names := slices.Sorted(maps.Keys(known))
	if len(names) == 0 {
		return false, errors.New("nothing was put back: no output has read from that queue; start the daemon with its outputs once")
	}
	return false, fmt.Errorf("nothing was put back: that queue does not know %s; name one that it knows with --output: %s",
		strings.Join(slices.Sorted(maps.Keys(unknown)), ", "), strings.Join(names, ", "))
}

// each calls fn for each frame of dead letters that no replay has got past, with those in it that are not put back yet.
func (r *replay) each(ctx context.Context, fn func(*segment.Frame, []letter) error) error {
	var f segment.Frame
	var letters []letter
	for {
		ok, err := r.next(ctx, &f)
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		if !ok {
			return nil
		}
		if letters, err = r.lettersIn(letters[:0], &f); err != nil {
			return err
		}
		if err := fn(&f, letters); err != nil {
			return err
		}
	}
}

// next is the next frame; ok is false where there is none.
func (r *replay) next(ctx context.Context, f *segment.Frame) (ok bool, err error) {
	for began := time.Now(); ; {
		ok, lost, err := r.reader.TryNext(ctx, f)
		if lost.Last != 0 {
			r.lost = r.lost.Add(lost.First, lost.Last)
		}
		if err == nil || time.Since(began) >= replayAsks || !pause(ctx, replayPause) {
			return ok, err
		}
	}
}

// lettersIn appends the dead letters of a frame that are not put back yet.
func (r *replay) lettersIn(letters []letter, f *segment.Frame) ([]letter, error) {
	behind := checkpoint.Ranges(r.reader.Within(f.First, f.Last()))
	next := f.First
	for _, run := range f.Runs {
		first := next
		next += uint64(run.Count)
		mark := replayMark{queue: r.from.ID().String(), stream: r.reader.Stream(), epoch: r.reader.Epoch(), sequence: next - 1}
		switch {
		case len(behind.Without(first, next-1)) == 0:
			continue // an earlier replay is done with it
		case slices.ContainsFunc(r.marks, mark.isUpTo):
			r.before += uint64(run.Count)
			continue // it was interrupted, after it had put this one back
		}
		about, own, ok := cutLetter(run.Attributes)
		if !ok {
			return nil, fmt.Errorf("record %d of %s is no dead letter: nothing in it says which output refused it; those of a data directory are in its %s", first, r.dir, DeadLetterDir)
		}
		run.Attributes = own
		output := r.output
		if output == "" {
			output = about.Output
		}
		letters = append(letters, letter{output: output, mark: mark, run: run})
	}
	return letters, nil
}

// put appends the dead letters of a frame to the other queue. When they are durable there, they are done here.
func (r *replay) put(ctx context.Context, f *segment.Frame, letters []letter) error {
	runs := make([]segment.Run, 0, len(letters))
	for _, l := range letters {
		l.run.Key, l.run.Position = []byte(keyOfOutput+l.output+"/"+l.mark.queue), []byte(l.mark.String())
		runs = append(runs, l.run)
	}
	var last uint64
	err := patiently(ctx, r.into, replayRest, func(ctx context.Context) (err error) {
		last, err = r.into.Append(ctx, runs)
		return err
	})
	if err == nil {
		err = patiently(ctx, r.into, replayRest, func(ctx context.Context) error { return r.into.WaitDurable(ctx, last) })
	}
	if err != nil {
		return fmt.Errorf("put dead letters back, after %d: %w", r.done.Records, err)
	}
	for _, l := range letters {
		n := uint64(l.run.Count)
		if r.done.Records == 0 {
			r.done.First = last + 1
			for _, l := range letters {
				r.done.First -= uint64(l.run.Count)
			}
		}
		r.done.Records += n
		r.done.Outputs[l.output] += n
		r.done.Last = last
	}
	r.reader.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
	return nil
}

// patiently makes a step that may have to wait, until it is clear that it waits in vain: nobody delivers here, so a full
// queue stays full. rest is what is to be done about that when the daemon runs.
func patiently(ctx context.Context, q *queue.Queue, rest string, step func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, replayPatience)
		err := step(attempt)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		switch s := q.Status(); {
		case s.Fault != "":
			return fmt.Errorf("the disk takes no data: %s", s.Fault)
		case s.Full:
			return fmt.Errorf("%s; start the daemon, and %s when outputs have made room", s.FullWhy, rest)
		}
	}
}
