package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// foldFor is how long the repeats of a line are only counted. It is a little less than the ten seconds at which others
	// repeat a line on purpose.
	foldFor = 10*time.Second - 500*time.Millisecond
	// foldLines bounds the lines whose repeats are counted; those beyond are written each time.
	foldLines = 256
)

// identifying are the attributes that make a line another one. The rest, such as a peer or a count, does not.
var identifying = []string{
	"input", "output", "queue", "error", "warning", "panic", "note", "file", "path", "segment", "offset", "address", "what", "cause",
	"waits_for", "reload",
}

// fold is a slog.Handler that passes the first of several warnings or errors which say the same and counts the others;
// their number stands as "repeated" in the last of them, which is written when foldFor has passed. Other lines tell of
// steps that somebody may wait for: they pass.
type fold struct {
	slog.Handler
	key   string // of the attributes that With has given
	lines *lines
}

// lines are what a fold and all that With made of it have in common.
type lines struct {
	mu    sync.Mutex // guards everything below
	known map[string]*repeats
	timer *time.Timer // runs while there are repeats to tell of
	over  bool
}

// repeats is a line that was written at since, and those like it after that.
type repeats struct {
	since time.Time
	count int
	last  slog.Record
	to    slog.Handler
}

func newFold(to slog.Handler) *fold {
	return &fold{Handler: to, lines: &lines{known: map[string]*repeats{}}}
}

// WithAttrs is that of slog.Handler.
func (f *fold) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &fold{Handler: f.Handler.WithAttrs(attrs), key: f.key + keyOf(attrs), lines: f.lines}
}

// WithGroup is that of slog.Handler.
func (f *fold) WithGroup(name string) slog.Handler {
	return &fold{Handler: f.Handler.WithGroup(name), key: f.key + name + "\x00", lines: f.lines}
}

func keyOf(attrs []slog.Attr) string {
	var b strings.Builder
	for _, a := range attrs {
		if slices.Contains(identifying, a.Key) {
			b.WriteString(a.Key + "=" + a.Value.Resolve().String() + "\x00")
		}
	}
	return b.String()
}

// Handle is that of slog.Handler.
func (f *fold) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn && f.lines.counts(f.key, r, f.Handler) {
		return nil
	}
	return f.Handler.Handle(ctx, r)
}

// counts says that r is only counted.
func (l *lines) counts(with string, r slog.Record, to slog.Handler) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	now := time.Now()
	l.tell(now)
	attrs := make([]slog.Attr, 0, 8)
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	key := r.Level.String() + r.Message + "\x00" + with + keyOf(attrs)
	was := l.known[key]
	if was == nil {
		if len(l.known) < foldLines {
			l.known[key] = &repeats{since: now}
		}
		return false
	}
	was.count++
	was.last, was.to = r.Clone(), to
	if l.timer == nil {
		l.timer = time.AfterFunc(was.since.Add(foldFor).Sub(now), l.wake)
	}
	return true
}

// tell writes the lines whose time has come, with the number of their repeats, and forgets those without. The caller
// holds mu.
func (l *lines) tell(now time.Time) {
	for key, r := range l.known {
		if now.Sub(r.since) < foldFor {
			continue
		}
		if r.count == 0 {
			delete(l.known, key)
			continue
		}
		r.write()
		r.since, r.count = now, 0
	}
}

func (r *repeats) write() {
	r.last.Add("repeated", r.count)
	_ = r.to.Handle(context.Background(), r.last) // there is nobody to tell that the log cannot be written
	r.last, r.to = slog.Record{}, nil
}

// wake tells what is due and sets the timer for what is due next.
func (l *lines) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	now := time.Now()
	l.tell(now)
	l.timer = nil
	next := foldFor
	for _, r := range l.known {
		if r.count > 0 {
			next = min(next, r.since.Add(foldFor).Sub(now))
		}
	}
	for _, r := range l.known {
		if r.count > 0 {
			l.timer = time.AfterFunc(next, l.wake)
			return
		}
	}
}

// flush writes what was counted, at the end of the process. From then on every line is written at once.
func (f *fold) flush() {
	l := f.lines
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.timer != nil {
		l.timer.Stop()
	}
	for _, r := range l.known {
		if r.count > 0 {
			r.write()
		}
	}
	clear(l.known)
}
