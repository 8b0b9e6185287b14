package torture

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/judge"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// sameFull is a full disk: 400,000 records, 102 MB, for 64 MiB, while the destination is down.
func sameFull(t *testing.T) []*reliability.Row {
	need(t, disk.Available())
	const six = "nobody has all: OTel delivers 230,959 (all, where its receiver is told to try again), Fluent Bit 235,549 and 7 altered ones, Heka 207,119 and hangs, syslog-ng 137,509 and its sender " +
		"stays blocked, rsyslog 104,484 and counts 1, Telegraf 1,000, stops, and counts right"
	rows := make([]*reliability.Row, 4)
	t.Run("each", func(t *testing.T) {
		for n, kill := range []bool{false, true} {
			t.Run(endOf(kill)+" block", func(t *testing.T) {
				t.Parallel()
				rows[n] = fullBlock(newFull(t, kill, harm{name: "disk full: 64 MiB for 102 MB, when_full = \"block\"", six: six, twice: sameBatch}, "block"))
			})
			t.Run(endOf(kill)+" drop_oldest", func(t *testing.T) {
				t.Parallel()
				rows[n+2] = fullDrop(newFull(t, kill, harm{name: "disk full: 64 MiB for 102 MB, when_full = \"drop_oldest\"", six: "as above", policy: true}, "drop_oldest"))
			})
		}
	})
	return rows
}

// fullBlock has a sender that goes on until all is accepted, over the end and the next start.
func fullBlock(c *comparison) *reliability.Row {
	c.t.Helper()
	refused, through := make(chan int, 1), make(chan struct{})
	go func() {
		defer close(through)
		insist(c.t.Context(), c.in, c.Judge.Source(baseName), fullRecords, refused)
	}()
	c.t.Logf("the sender was refused with %d", <-refused)
	c.Wait("/readyz says that it is full", func() bool { status, _, _ := c.Proc.Get("/readyz"); return status == http.StatusServiceUnavailable })
	c.end()
	c.going = func() { <-through }
	return c.run()
}

func fullDrop(c *comparison) *reliability.Row {
	c.t.Helper()
	insist(c.t.Context(), c.in, c.Judge.Source(baseName), fullRecords, nil)
	c.Wait("the log tells of all that is dropped", func() bool { return c.byLog().sum == c.byLedger().sum })
	c.end()
	return c.run()
}

const fullRecords = 400_000

// newFull is a logmule on a small disk, started while its destination is down.
func newFull(t *testing.T, kill bool, h harm, whenFull string) *comparison {
	t.Helper()
	dir := t.TempDir()
	d, err := disk.Start(disk.Options{Mount: filepath.Join(dir, "mount"), Backing: filepath.Join(dir, "backing"), Output: filepath.Join(dir, "output"), Free: 64 << 20})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	base := &sameBase{records: fullRecords, kill: kill}
	c := newComparisonAt(t, filepath.Join(d.Path(), "data"), base, h, "when_full = \""+whenFull+"\"")
	c.Start()
	return c
}

// end ends the daemon in the way of the base.
func (c *comparison) end() {
	if c.base.kill {
		c.Proc.Kill()
	} else {
		c.Stop()
	}
}

// insist posts records until that many were accepted, each batch until it is. refused, where there is one, gets the first refusal.
func insist(ctx context.Context, in string, s *judge.Source, until uint64, refused chan<- int) {
	var client http.Client
	defer client.CloseIdleConnections()
	for s.Owed() < until && ctx.Err() == nil {
		var body []byte
		first := s.Sent() + 1
		for range sameBatch {
			body, _ = s.Append(body, sameRecord)
			body = append(body, '\n')
		}
		for ctx.Err() == nil {
			status, err := rig.Post(ctx, &client, "http://"+in+"/", body)
			if err == nil && status == http.StatusOK {
				s.Acknowledged(first, s.Sent())
				break
			}
			if refused != nil {
				refused <- status
				refused = nil
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
