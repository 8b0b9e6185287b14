package forward

import (
	"context"
	"fmt"
	"testing"

	"logmule/queue"
)

// TestStopWhileTheQueueOpens: whoever stops the daemon while it recovers does not wait for that, and it is no error.
func TestStopWhileTheQueueOpens(t *testing.T) {
	cfg, _ := configure(t, "")
	outside := reality()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	outside.queue = func(opt queue.Options) (*queue.Queue, error) {
		cancel()
		<-opt.Until.Done()
		return nil, fmt.Errorf("scan: %w", context.Cause(opt.Until))
	}
	e, err := newEngine(cfg, Options{}, outside)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(ctx); err != nil {
		t.Errorf("Run = %v", err)
	}
}
