package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	barWidth  = 30
	barText   = len("100%  999 MiB of 999 GiB, 999 MiB/s, 59 min 59 s left")
	barEvery  = 100 * time.Millisecond
	barSpare  = 4               // columns that stay free: for the ^C that a terminal shows, and so that nothing wraps
	barSettle = 2 * time.Second // before it the rate says nothing of the time that is left
)

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct {
	w       io.Writer  // nil: no bar
	columns func() int // of the terminal

	mu struct {
		sync.Mutex
		began time.Time
		last  time.Time
		width int // of what stands there
	}
}

func newProgress(w io.Writer, quiet bool) *progress {
	p := &progress{}
	if !quiet && terminal(w) {
		p.w, p.columns = w, func() int { return columns(w) }
	}
	return p
}

// terminal tells whether a person is likely to be at the other end of a file.
func terminal(file any) bool { return columns(file) > 0 }

// columns is how wide a terminal is, 0 where it is none.
func columns(file any) int {
	f, ok := file.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0
	case size.Col == 0: // a serial line, for example, does not know
		return 80
	}
	return int(size.Col)
}

// show draws the bar, at most ten times a second. It may be called from several goroutines.
func (p *progress) show(done, total int64) {
	if p.w == nil || total <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.mu.began.IsZero() {
		p.mu.began = now
	}
	if now.Sub(p.mu.last) < barEvery {
		return
	}
	p.mu.last = now
	line := barLine(min(done, total), total, now.Sub(p.mu.began), p.columns()-barSpare)
	fmt.Fprintf(p.w, "\r%-*s", p.mu.width, line)
	p.mu.width = len(line)
}

// step draws what is done after the bar has come to its end.
func (p *progress) step(number, all int) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf("all read; repairing segment %d of %d", number, all)
	line = line[:min(len(line), max(p.columns()-barSpare, 0))]
	fmt.Fprintf(p.w, "\r%-*s", p.mu.width, line)
	p.mu.width = max(p.mu.width, len(line))
}

// barLine is the bar in at most so many columns: "[###---]  43%  2.1 GiB of 4.9 GiB, 1.2 GiB/s, 3 s left".
func barLine(done, total int64, took time.Duration, columns int) string {
	share := float64(done) / float64(total)
	text := fmt.Sprintf("%3d%%  %s of %s", int(100*share), size(done), size(total))
	if rate := float64(done) / took.Seconds(); took > 0 && done > 0 {
		text += fmt.Sprintf(", %s/s", size(int64(rate)))
		if took >= barSettle {
			left := time.Duration(float64(total-done) / rate * float64(time.Second))
			text += fmt.Sprintf(", %s left", span(left))
		}
	}
	if width := min(barWidth, columns-barText-len("[] ")); width > 4 {
		full := int(float64(width) * share)
		text = fmt.Sprintf("[%s%s] %s", strings.Repeat("#", full), strings.Repeat("-", width-full), text)
	}
	return text[:min(len(text), max(columns, 0))]
}

// span writes a length of time for a person: two units are enough.
func span(d time.Duration) string {
	switch s := int64(d.Round(time.Second).Seconds()); {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	default:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
}

// clear takes the bar away, and what the terminal has shown of a Ctrl-C behind it.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.width > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.mu.width+len("^C"), "")
		p.mu.width = 0
	}
}
