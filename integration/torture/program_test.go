package torture

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

// program writes judged lines to a log that no power loss takes, and rotates it.
type program struct {
	rig.LogWriter
	source *judge.Source
	r      *rand.Rand
	seen   atomic.Bool // by the daemon: what is rotated before is history to it
}

func (p *program) run(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var line []byte
	for ctx.Err() == nil {
		var number uint64
		line, number = p.source.Append(line[:0], 60+p.r.IntN(200))
		line = append(line, '\n')
		part := p.r.IntN(len(line)) // a reader may see a line in two parts
		_, err := p.Write(line[:part])
		_, rest := p.Write(line[part:])
		if err := errors.Join(err, rest); err != nil {
			return err
		}
		p.source.Acknowledged(number, number)
		if p.r.IntN(300) == 0 && p.seen.Load() {
			if err := p.Rotate(); err != nil {
				return err
			}
		}
		<-tick.C
	}
	return p.Close()
}
