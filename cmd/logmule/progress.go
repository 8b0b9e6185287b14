package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	barWidth = 30
	barEvery = 100 * time.Millisecond
)

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct {
	w io.Writer // nil: no bar

	mu struct {
		sync.Mutex
		last  time.Time
		width int // of what stands there
	}
}

func newProgress(w io.Writer, quiet bool) *progress {
	if quiet || !terminal(w) {
		w = nil
	}
	return &progress{w: w}
}

// terminal tells whether a person is likely to see what is written there, or to answer.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// show draws the bar, at most ten times a second. It may be called from several goroutines.
func (p *progress) show(done, total int64) {
	if p.w == nil || total <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.mu.last) < barEvery {
		return
	}
	p.mu.last = now
	done = min(done, total)
	full := int(float64(barWidth) * float64(done) / float64(total))
	line := fmt.Sprintf("[%s%s] %3d%%  %s of %s", strings.Repeat("#", full), strings.Repeat("-", barWidth-full),
		int(100*float64(done)/float64(total)), size(done), size(total))
	fmt.Fprintf(p.w, "\r%-*s", p.mu.width, line)
	p.mu.width = len(line)
}

// clear takes the bar away.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.width > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.mu.width, "")
		p.mu.width = 0
	}
}
