package torture

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// comparison is one damage to one copy of a base.
type comparison struct {
	*rig.Lab
	t    *testing.T
	base *sameBase
	harm harm

	in, out string
	dest    *judge.Destination
	going   func() // waits until a sender of the base is through, once the daemon runs; nil: there is none

	mu    sync.Mutex
	came  numbers // of the base; its records have the numbers of their sequences
	twice uint64
	fresh int // new records that came
	last  time.Time

	report       told // by fsck, before the start
	exit         int  // of fsck
	may, touched numbers
	ready, back  time.Duration
}

func newComparison(t *testing.T, base *sameBase, h harm) *comparison {
	t.Helper()
	return newComparisonAt(t, filepath.Join(t.TempDir(), "data"), base, h, base.queue)
}

func newComparisonAt(t *testing.T, data string, base *sameBase, h harm, queue string) *comparison {
	t.Helper()
	c := &comparison{t: t, base: base, harm: h, in: rig.OwnAddress(t), out: rig.OwnAddress(t)}
	c.Lab = newLabAt(t, data, sameText(c.in, c.out, queue))
	c.Judge = base.judge()
	c.dest = c.Judge.Destination("out")
	return c
}

// arrived is told of each record that comes.
func (c *comparison) arrived(record []byte) {
	c.dest.Arrived(record)
	c.mu.Lock()
	defer c.mu.Unlock()
	words := bytes.SplitN(record, []byte{' '}, 4)
	if len(words) < 4 || string(words[1]) != baseName {
		c.fresh++
		return
	}
	n, _ := strconv.ParseUint(string(words[2]), 10, 64) // what is no number is altered, which the judge says
	if c.came.has(n) {
		c.twice++
	}
	c.came = c.came.with(n, n)
	c.last = time.Now()
}

// run does the damage, starts twice with the destination up, sends new records through each time, and judges.
func (c *comparison) run() *reliability.Row {
	c.t.Helper()
	if c.harm.do != nil {
		c.harm.do(c)
		c.mayLose()
	}
	c.report, c.exit = c.byReport()
	rig.StartHTTPSink(c.t, c.out, c.arrived)
	for n := range 2 {
		began := time.Now()
		c.ready = max(c.ready, c.Start())
		if c.going != nil {
			c.going()
		}
		c.Wait("the backlog is delivered", func() bool { return c.Metric("logmule_output_backlog_records") == 0 })
		c.mu.Lock()
		c.back = max(c.back, c.last.Sub(began))
		c.mu.Unlock()
		c.thousand(fmt.Sprintf("new%d", n))
		c.Stop()
	}
	return c.judged()
}

// thousand sends as many new records through.
func (c *comparison) thousand(name string) {
	c.t.Helper()
	source := &rig.HTTPSource{URL: "http://" + c.in + "/", Source: c.Judge.Source(name), Batch: sameBatch, Size: sameRecord, Limit: 1000}
	source.Run(c.t.Context())
	if owed := source.Source.Owed(); owed != 1000 {
		c.t.Errorf("%d of 1000 new records were acknowledged", owed)
	}
	c.Wait("new records have come", func() bool { return c.Metric("logmule_output_backlog_records") == 0 })
}

// mayLose finds out what the damage may cost by the promise, and which records it has really touched.
func (c *comparison) mayLose() {
	for _, name := range c.base.files {
		before, err := os.ReadFile(filepath.Join(c.base.data, segmentFile(name)))
		must(c.t, err)
		after, err := os.ReadFile(filepath.Join(c.Data, segmentFile(name)))
		if err != nil && !os.IsNotExist(err) {
			c.t.Fatal(err)
		}
		both := changes{before, after}
		c.may = c.may.and(both.mayCost())
		c.touched = c.touched.and(both.touched(sameRecord + 1))
	}
}
