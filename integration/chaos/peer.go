package chaos

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Store is what a destination has taken, over all the servers that stand for it. Of batches that come again under an
// Idempotency-Key it takes the first, as a careful destination does.
type Store struct {
	mu      sync.Mutex // guards everything below, and is held while arrived is called
	arrived func(record []byte)
	keys    map[string]bool
	repeats uint64
}

// NewStore makes one. arrived gets each record, without its LF; it must not keep it, and has one caller at a time.
func NewStore(arrived func(record []byte)) *Store {
	return &Store{arrived: arrived, keys: map[string]bool{}}
}

// Take takes the records of a body; those of a key that was here before are only counted.
func (s *Store) Take(key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := key != "" && s.keys[key]
	s.keys[key] = true
	for line := range bytes.Lines(body) {
		if again {
			s.repeats++
		} else {
			s.arrived(bytes.TrimSuffix(line, []byte{'\n'}))
		}
	}
}

// Repeats counts the records that came again under their key.
func (s *Store) Repeats() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repeats
}

// Peer is a server, mostly one that behaves badly.
type Peer struct {
	listener net.Listener
	store    *Store
	stop     chan struct{}
	workers  sync.WaitGroup
	behave   Behaviour

	mu       sync.Mutex            // guards what follows
	open     map[net.Conn]struct{} // nil: closed
	accepted int
	latest   *Visit // of Lines
}

// Behaviour is how a server treats one connection, which is closed when it returns.
type Behaviour func(v *Visit)

// Visit is one connection to a Peer.
type Visit struct {
	net.Conn
	peer *Peer
	over chan struct{} // closed at the end
}

// StartPeer listens.
func StartPeer(address string, b Behaviour, store *Store) (*Peer, error) {
	l, err := net.Listen(network(address), address)
	if err != nil {
		return nil, fmt.Errorf("start bad peer: %w", err)
	}
	return ServePeer(l, b, store), nil
}

// ServePeer is StartPeer with a listener that is there.
func ServePeer(l net.Listener, b Behaviour, store *Store) *Peer {
	p := &Peer{listener: l, store: store, stop: make(chan struct{}), behave: b, open: map[net.Conn]struct{}{}}
	p.workers.Go(p.accept)
	return p
}

// Address is where it listens.
func (p *Peer) Address() string { return p.listener.Addr().String() }

// Accepted counts the connections.
func (p *Peer) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Close ends the peer and its connections.
func (p *Peer) Close() {
	close(p.stop)
	_ = p.listener.Close()
	p.mu.Lock()
	for c := range p.open {
		_ = c.Close()
	}
	p.open = nil
	p.mu.Unlock()
	p.workers.Wait()
}

func (p *Peer) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		closed := p.open == nil
		if !closed {
			p.open[c] = struct{}{}
			p.accepted++
		}
		p.mu.Unlock()
		if closed {
			_ = c.Close()
			return
		}
		p.workers.Go(func() {
			v := &Visit{Conn: c, peer: p, over: make(chan struct{})}
			defer func() {
				_ = c.Close()
				close(v.over)
				p.mu.Lock()
				delete(p.open, c)
				p.mu.Unlock()
			}()
			p.behave(v)
		})
	}
}

// hold waits until the peer is closed.
func (v *Visit) hold() { <-v.peer.stop }

// Deaf accepts and never reads.
func Deaf(v *Visit) { v.hold() }

// Mute reads, throws away and never answers.
func Mute(v *Visit) { _, _ = io.Copy(io.Discard, v) }

// Chatter sends what nobody asked for, and reads and throws away.
func Chatter(v *Visit) {
	v.peer.workers.Go(func() { Mute(v) })
	noise := bytes.Repeat([]byte{0, 0xff, '\r', '\n', 'H', 'T', 'T', 'P', '/', 0x80, 0x16, 3, 3}, 10)
	for {
		if _, err := v.Write(noise); err != nil {
			return
		}
		select {
		case <-v.peer.stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Slam resets the connection when its first bytes have come: in the middle of a TLS handshake, where there is one.
func Slam(v *Visit) {
	_, _ = v.Read(make([]byte, 1))
	abort(v.Conn)
}

// Secured does a TLS handshake as the server and then behaves.
func Secured(settings *tls.Config, b Behaviour) Behaviour {
	return func(v *Visit) {
		c := tls.Server(v.Conn, settings)
		if c.Handshake() == nil {
			b(&Visit{Conn: c, peer: v.peer, over: v.over})
		}
	}
}

// Lines is a good server for newline framing: it takes every whole line. Connections come one after the other: a new one
// ends the one before as soon as nothing more of that is at hand, so that it cannot come late.
func Lines(v *Visit) {
	v.follow()
	from := bufio.NewReaderSize(v, 64<<10)
	var line []byte
	for {
		part, err := from.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			v.peer.store.Take("", line)
			line = line[:0]
		case !errors.Is(err, bufio.ErrBufferFull):
			return // what is left is torn: it comes again
		}
	}
}

// atHand is how long a connection that was followed by another may be silent.
const atHand = 100 * time.Millisecond

func (v *Visit) follow() {
	p := v.peer
	p.mu.Lock()
	before := p.latest
	p.latest = v
	p.mu.Unlock()
	if before != nil {
		_ = before.SetReadDeadline(time.Now().Add(atHand)) // one that has ended needs none
		<-before.over
	}
}

// Part closes all connections that are open, in an orderly way.
func (p *Peer) Part() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
}
