package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
)

// Options say where a proxy stands. An address that begins with / is the path of a unix socket, any other HOST:PORT.
type Options struct {
	Listen string
	Target string
	Seed   uint64 // of the jitter
	Buffer int    // bytes that the kernel holds unread at each socket, about; 0: as many as it likes
}

// Proxy stands between clients and a server. Its methods may be called from any goroutine.
type Proxy struct {
	options Options
	address string
	workers sync.WaitGroup
	alive   context.Context // ends with the proxy
	end     context.CancelFunc

	mu       sync.Mutex // guards everything below
	listener net.Listener
	closed   bool
	target   string
	faults   [2]Faults
	changed  chan struct{} // closed and replaced when faults change
	pairs    map[*pair]struct{}
	total    int
	passed   [2]int64
	random   *rand.Rand
}

// Start listens.
func Start(o Options) (*Proxy, error) {
	p := &Proxy{options: o, address: o.Listen, target: o.Target, changed: make(chan struct{}), pairs: map[*pair]struct{}{},
		random: rand.New(rand.NewPCG(o.Seed, 1))}
	p.alive, p.end = context.WithCancel(context.Background())
	if err := p.Refuse(false); err != nil {
		return nil, err
	}
	return p, nil
}

// network is the one of an address.
func network(address string) string {
	if strings.HasPrefix(address, "/") {
		return "unix"
	}
	return "tcp"
}

// Address is where clients connect.
func (p *Proxy) Address() string { return p.address }

// Set makes these the faults of one way, at once and for all connections.
func (p *Proxy) Set(way Way, f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[way] = f
	close(p.changed)
	p.changed = make(chan struct{})
}

// Calm ends the faults of both ways. Connections that were stalled go on; one of which bytes were swallowed goes on swallowing, since no
// stream has a gap in it.
func (p *Proxy) Calm() {
	p.Set(Up, Faults{})
	p.Set(Down, Faults{})
}

// To lets connections that come from now on go to another server.
func (p *Proxy) To(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Refuse closes the listener, so that connections are refused, or opens it again at the same address.
func (p *Proxy) Refuse(refuse bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if refuse == (p.listener == nil) || p.closed {
		return nil
	}
	if refuse {
		err := p.listener.Close()
		p.listener = nil
		return err
	}
	l, err := net.Listen(network(p.address), p.address)
	if err != nil {
		return fmt.Errorf("listen as a proxy: %w", err)
	}
	p.listener, p.address = l, l.Addr().String()
	p.workers.Go(func() { p.accept(l) })
	return nil
}

// Reset ends all connections with RST, now.
func (p *Proxy) Reset() { p.each(func(c *pair) { c.end(true) }) }

// Cut ends all connections in an orderly way, now.
func (p *Proxy) Cut() { p.each(func(c *pair) { c.end(false) }) }

// HalfClose tells the far end of one way of each connection that nothing more comes, now.
func (p *Proxy) HalfClose(way Way) { p.each(func(c *pair) { c.ways[way].halfClose() }) }

func (p *Proxy) each(do func(*pair)) {
	p.mu.Lock()
	var all []*pair
	for c := range p.pairs {
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		do(c)
	}
}

// Connections counts those that are open, and all that there were.
func (p *Proxy) Connections() (open, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs), p.total
}

// Passed counts the bytes that were taken one way, swallowed ones too.
func (p *Proxy) Passed(way Way) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed[way]
}

// Close resets all connections and ends the proxy.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		_ = p.listener.Close()
	}
	p.mu.Unlock()
	p.end()
	p.Reset()
	p.workers.Wait()
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		p.workers.Go(func() { p.join(client, target) })
	}
}

// join serves one connection to its end.
func (p *Proxy) join(client net.Conn, target string) {
	server, err := new(net.Dialer).DialContext(p.alive, network(target), target)
	if err != nil { // as if the server had gone just now
		abort(client)
		return
	}
	c := newPair(p, client, server)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.end(true)
		return
	}
	p.pairs[c] = struct{}{}
	p.total++
	p.mu.Unlock()
	c.run()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
}

// now gives the faults of a way, and a channel that is closed when they change.
func (p *Proxy) now(way Way) (Faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults[way], p.changed
}

func (p *Proxy) count(way Way, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed[way] += int64(n)
}

// bounded gives a socket buffers of about so many bytes.
func bounded(c net.Conn, size int) {
	if b, ok := c.(interface {
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	}); ok && size > 0 {
		_, _ = b.SetReadBuffer(size), b.SetWriteBuffer(size) // a kernel that gives others only hides less
	}
}

// abort ends a socket with RST where it has one.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
