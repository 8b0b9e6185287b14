package forward

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// sickAfter panics within healthyAfter make the process unhealthy, until the plugin has run that long without one.
	sickAfter    = 5
	healthyAfter = time.Minute
	// stacksKept bounds how many different panics of a plugin are logged with their stack.
	stacksKept = 16
)

// panicError is a panic that contain caught.
type panicError struct {
	text  string
	stack []byte
}

func (e *panicError) Error() string { return "panic: " + e.text }

// contain calls fn and returns a panic of it as a *panicError.
func contain(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{text: fmt.Sprint(v), stack: debug.Stack()}
		}
	}()
	return fn()
}

// panics is the record of one plugin's panics. Its methods may be called from several goroutines.
type panics struct {
	mu      sync.Mutex
	total   uint64
	text    string               // of the last one
	times   [sickAfter]time.Time // of the last ones, in a ring
	sick    bool
	running time.Time           // since when the plugin has run; zero: it does not
	known   map[string]struct{} // texts whose stack was logged
}

// add notes a panic and logs it: with the stack the first time, as one line when the same panic comes again.
func (p *panics) add(log *slog.Logger, e *panicError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.times[p.total%sickAfter] = now
	p.total++
	p.text, p.running = e.text, time.Time{}
	if oldest := p.times[p.total%sickAfter]; p.total >= sickAfter && now.Sub(oldest) < healthyAfter {
		p.sick = true
	}
	if _, ok := p.known[e.text]; ok || len(p.known) >= stacksKept {
		log.Error("panicked again; it is built anew and started again", "panic", e.text, "panics", p.total)
		return
	}
	if p.known == nil {
		p.known = make(map[string]struct{})
	}
	p.known[e.text] = struct{}{}
	log.Error("panicked; it is built anew and started again, no record is lost", "panic", e.text, "stack", string(e.stack))
}

// started notes that the plugin runs, or runs again.
func (p *panics) started() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = time.Now()
}

// state tells how many there were, whether the plugin counts as sick, and the text of the last one.
func (p *panics) state() (total uint64, sick bool, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sick && !p.running.IsZero() && time.Since(p.running) >= healthyAfter {
		p.sick = false
	}
	return p.total, p.sick, p.text
}
