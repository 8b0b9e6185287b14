package forward

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"

	"logmule/forward/output"
	"logmule/queue"
	"logmule/queue/segment"
)

const (
	// defaultBatch is the size of a batch, in bytes, for outputs that do not say what they want.
	defaultBatch = 1 << 20
	// patience is how often an output may ask to be called again at once without having got on.
	patience = 64
)

var outputWords = troubleWords{
	first: "output failed; its records stay in the queue and are sent again",
	still: "output still fails",
	over:  "output delivers again",
}

// errLost is what wait returns when the output has lost its connection.
var errLost = errors.New("connection lost")

// consumer takes the records of the queue to one output. It alone moves the output's position. Its lanes do the work, one
// for each request that may be under way at once.
type consumer struct {
	*plugin
	stay
	keys    *OutputKeys
	build   func() (output.Output, error)
	built   output.Output // for the first time that one is opened
	queue   segment.ID    // the first part of a batch's ID
	routed  string        // the last part of it: what is filtered out, in short
	reader  *queue.Reader
	feed    feed
	lanes   []*lane
	dead    *deadLetters
	limiter *rate.Limiter // nil: no limit

	counters    output.Counters
	lettersTold sparing // about dead letters
	sheddings   atomic.Uint64
	troubled    atomic.Int64 // lanes that fail

	records, retries, deadLettered atomic.Uint64
}

// check judges the keys, once the output is built.
func (c *consumer) check(inputs []string) []error {
	errs := c.keys.check(inputs)
	if _, concurrent := c.built.(output.Concurrent); c.built != nil && !concurrent && c.keys.InFlight > 1 {
		errs = append(errs, errOrder)
	}
	m, err := c.keys.compile()
	r := &c.feed.route
	r.output, r.match, r.log = c.name, m, c.log
	if len(c.keys.From) > 0 {
		r.from = make(map[string]bool)
		for _, name := range c.keys.From {
			r.from[name] = true
		}
	}
	if m != nil || r.from != nil {
		// Another choice of records under an ID that a destination knows would count as delivered.
		sum := fnv.New32a()
		_, _ = fmt.Fprint(sum, strings.Join(c.keys.From, ","), " ", c.keys.Match) // never fails
		c.routed = fmt.Sprintf(".%08x", sum.Sum32())
	}
	return append(errs, err)
}

// attach gives the consumer its place in the queue.
func (c *consumer) attach(q *queue.Queue, dead *deadLetters) {
	c.queue = q.ID()
	start, _ := c.keys.start() // check has seen it
	c.reader = q.Reader(c.name, start)
	c.dead = dead
	c.feed.reader = c.reader
	_, c.feed.several = c.built.(output.Concurrent) // with one request too, since there may have been more before a reload
	c.feed.moved = make(chan struct{}, 1)
	c.feed.resume()
	if n := int(min(c.keys.RateLimit, mostBurst)); n > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(c.keys.RateLimit), n)
	}
	for i := range c.keys.InFlight {
		c.lanes = append(c.lanes, &lane{consumer: c, number: i, delays: newDelays()})
	}
	c.lanes[0].built = c.built
	c.parallel(len(c.lanes))
}

// detach gives the place back. The queue holds what is not done for whoever attaches under that name.
func (c *consumer) detach() {
	c.feed.rewind()
	c.reader.Close()
}

// run delivers until stop ends; requests in flight then have until hard ends.
func (c *consumer) run(stop, hard context.Context) {
	var others sync.WaitGroup
	for _, l := range c.lanes[1:] {
		others.Go(func() { l.run(stop, hard) })
	}
	c.lanes[0].run(stop, hard)
	others.Wait()
}
