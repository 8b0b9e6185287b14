package forward

import "context"

// sourceKeeper is where the queue keeps how far sources were read.
type sourceKeeper interface {
	Sources(prefix string) map[string][]byte
	SetSource(key string, value []byte)
	ForgetSource(keys ...string)
	WaitSources(ctx context.Context) error
}

// positions are those of one input's sources: the input.Positions of the engine. The queue is there by the time that
// the input runs.
type positions struct {
	queue  func() sourceKeeper
	prefix string // "in/NAME/"
}

// Load is that of input.Positions.
func (p *positions) Load() map[string][]byte { return p.queue().Sources(p.prefix) }

// Set is that of input.Positions.
func (p *positions) Set(key string, value []byte) { p.queue().SetSource(p.prefix+key, value) }

// Forget is that of input.Positions.
func (p *positions) Forget(keys ...string) {
	own := make([]string, len(keys))
	for i, key := range keys {
		own[i] = p.prefix + key
	}
	p.queue().ForgetSource(own...)
}

// Kept is that of input.Env.
func (p *positions) Kept(ctx context.Context) error { return p.queue().WaitSources(ctx) }
