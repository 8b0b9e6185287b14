package chaos

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	chunkSize  = 16 << 10 // bytes of one read
	chunksHeld = 16       // chunks on their way through the proxy, in each way
)

// pair is one connection through the proxy: the socket of its client and the one to the server.
type pair struct {
	proxy *Proxy
	ways  [2]*pump
	once  sync.Once
	ended chan struct{} // closed with both sockets
}

// pump carries the bytes of one way. Two goroutines work on it: one reads, one writes what is due.
type pump struct {
	pair     *pair
	way      Way
	from, to net.Conn

	mu     sync.Mutex // guards what follows
	passed int64      // bytes taken so far
	shut   bool       // the far end was told that nothing more comes

	gaping bool // bytes were swallowed: nothing that comes behind them may reach the far end; of the one who writes
}

// chunk is a piece that was read, and when it is due at the other end.
type chunk struct {
	bytes []byte
	due   time.Time
}

func newPair(p *Proxy, client, server net.Conn) *pair {
	bounded(client, p.options.Buffer)
	bounded(server, p.options.Buffer)
	c := &pair{proxy: p, ended: make(chan struct{})}
	c.ways[Up] = &pump{pair: c, way: Up, from: client, to: server}
	c.ways[Down] = &pump{pair: c, way: Down, from: server, to: client}
	return c
}

// run returns when the connection is over.
func (c *pair) run() {
	var work sync.WaitGroup
	for _, m := range c.ways {
		chunks := make(chan chunk, chunksHeld)
		var last error // what the reader ended with; read after chunks is closed
		work.Go(func() {
			defer close(chunks)
			last = m.read(chunks)
		})
		work.Go(func() {
			for piece := range chunks {
				if !m.wait(time.Until(piece.due)) || !m.write(piece.bytes) {
					c.end(false)
				}
			}
			m.finish(last)
		})
	}
	work.Wait()
	c.end(false)
}

// end closes both sockets, once.
func (c *pair) end(reset bool) {
	c.once.Do(func() {
		for _, m := range c.ways {
			if reset {
				abort(m.from)
			} else {
				_ = m.from.Close() // each is the from of one way
			}
		}
		close(c.ended)
	})
}

// read reads until the way ends. While it is stalled nothing more is read.
func (m *pump) read(chunks chan<- chunk) error {
	for {
		if _, ok := m.pass(); !ok {
			return net.ErrClosed
		}
		piece := make([]byte, chunkSize)
		n, err := m.from.Read(piece)
		if n > 0 {
			f, _ := m.pair.proxy.now(m.way)
			select {
			case chunks <- chunk{piece[:n], time.Now().Add(m.delay(f))}:
			case <-m.pair.ended:
				return net.ErrClosed
			}
		}
		if err != nil {
			return err
		}
	}
}

func (m *pump) delay(f Faults) time.Duration {
	if f.Jitter <= 0 {
		return f.Latency
	}
	m.pair.proxy.mu.Lock()
	defer m.pair.proxy.mu.Unlock()
	return f.Latency + time.Duration(m.pair.proxy.random.Int64N(int64(f.Jitter)))
}

// pass waits while the way is stalled. false: the connection is over.
func (m *pump) pass() (Faults, bool) {
	for {
		f, changed := m.pair.proxy.now(m.way)
		if f.Then != Stall || m.taken() < f.After {
			return f, true
		}
		select {
		case <-changed:
		case <-m.pair.ended:
			return f, false
		}
	}
}

// write gives bytes to the far end, as the faults have it. false: the connection is to end.
func (m *pump) write(b []byte) bool {
	for len(b) > 0 {
		f, ok := m.pass()
		if !ok {
			return false
		}
		if m.gaping {
			f = Faults{Then: Swallow}
		}
		n := len(b)
		if f.Slice > 0 {
			n = min(n, f.Slice)
		}
		if f.Bandwidth > 0 {
			n = min(n, max(1, f.Bandwidth/20))
		}
		if f.Then != Pass {
			left := f.After - m.taken()
			if left <= 0 {
				return m.meet(f.Then, len(b))
			}
			n = int(min(int64(n), left))
		}
		if f.Bandwidth > 0 && !m.wait(time.Duration(n)*time.Second/time.Duration(f.Bandwidth)) {
			return false
		}
		if !m.isShut() {
			if _, err := m.to.Write(b[:n]); err != nil {
				return false
			}
		}
		m.note(n)
		b = b[n:]
		if !m.wait(f.Gap) {
			return false
		}
	}
	return true
}

// meet does what a way comes to, with n bytes that are at hand. false: the connection is over.
func (m *pump) meet(e Ending, n int) bool {
	switch e {
	case Reset:
		m.pair.end(true)
		return false
	case Cut:
		m.pair.end(false)
		return false
	case HalfClose:
		m.halfClose()
	case Swallow:
		m.gaping = true
	}
	m.note(n) // thrown away
	return true
}

// finish passes on how a way ended: an orderly end this way only, any other as a reset of all.
func (m *pump) finish(err error) {
	switch {
	case errors.Is(err, net.ErrClosed):
	case errors.Is(err, io.EOF):
		f, _ := m.pair.proxy.now(m.way)
		if m.wait(f.Linger) {
			m.halfClose()
		}
	default:
		m.pair.end(true)
	}
}

func (m *pump) halfClose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shut {
		return
	}
	m.shut = true
	if c, ok := m.to.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // one that has ended needs no end
	}
}

func (m *pump) isShut() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shut
}

func (m *pump) note(n int) {
	m.mu.Lock()
	m.passed += int64(n)
	m.mu.Unlock()
	m.pair.proxy.count(m.way, n)
}

func (m *pump) taken() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.passed
}

// wait is false when the connection ended meanwhile.
func (m *pump) wait(d time.Duration) bool {
	if d <= 0 {
		select {
		case <-m.pair.ended:
			return false
		default:
			return true
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-m.pair.ended:
		return false
	}
}
