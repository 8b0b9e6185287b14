package chaos

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Peer is a server that behaves badly.
type Peer struct {
	listener net.Listener
	arrived  func(record []byte)
	stop     chan struct{}
	workers  sync.WaitGroup

	behave  Behaviour
	telling sync.Mutex // held by the caller of arrived

	mu       sync.Mutex            // guards what follows
	open     map[net.Conn]struct{} // nil: closed
	accepted int
}

// Behaviour is how a server treats one connection, which is closed when it returns.
type Behaviour func(v *Visit)

// Visit is one connection to a Peer.
type Visit struct {
	net.Conn
	peer *Peer
}

// StartPeer listens. arrived gets each record, without its LF, that the peer says to have taken; it must not keep it, and has one caller at a time.
func StartPeer(address string, b Behaviour, arrived func(record []byte)) (*Peer, error) {
	l, err := net.Listen(network(address), address)
	if err != nil {
		return nil, fmt.Errorf("start bad peer: %w", err)
	}
	return ServePeer(l, b, arrived), nil
}

// ServePeer is StartPeer with a listener that is there.
func ServePeer(l net.Listener, b Behaviour, arrived func(record []byte)) *Peer {
	p := &Peer{listener: l, arrived: arrived, stop: make(chan struct{}), behave: b, open: map[net.Conn]struct{}{}}
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
			defer func() {
				_ = c.Close()
				p.mu.Lock()
				delete(p.open, c)
				p.mu.Unlock()
			}()
			p.behave(&Visit{Conn: c, peer: p})
		})
	}
}

// take notes the records of a body.
func (v *Visit) take(body []byte) {
	v.peer.telling.Lock()
	defer v.peer.telling.Unlock()
	for line := range bytes.Lines(body) {
		v.peer.arrived(bytes.TrimSuffix(line, []byte{'\n'}))
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
			b(&Visit{Conn: c, peer: v.peer})
		}
	}
}

// request reads one request with its body.
func (v *Visit) request(from *bufio.Reader) (body []byte, ok bool) {
	r, err := http.ReadRequest(from)
	if err != nil {
		return nil, false
	}
	body, err = io.ReadAll(r.Body)
	return body, err == nil
}

func (v *Visit) say(text string) bool {
	_, err := io.WriteString(v, text)
	return err == nil
}

const accepted = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// AnswerAndClose takes a request, answers 200 as if the connection went on, and closes it.
func AnswerAndClose(v *Visit) {
	if body, ok := v.request(bufio.NewReader(v)); ok {
		v.take(body)
		v.say(accepted)
	}
}

// HalfAnswer reads a request and answers the half of a header; then it is silent.
func HalfAnswer(v *Visit) {
	if _, ok := v.request(bufio.NewReader(v)); ok && v.say("HTTP/1.1 200 OK\r\nContent-Le") {
		v.hold()
	}
}

// HalfBody takes a request, answers 200 with a part of the body that it announces, and resets the connection.
func HalfBody(v *Visit) {
	if body, ok := v.request(bufio.NewReader(v)); ok {
		v.take(body)
		v.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome of it")
		time.Sleep(5 * time.Millisecond) // so that the answer is there before the reset, which takes what is on its way
		abort(v.Conn)
	}
}

// Garbage reads a request and answers with what is no HTTP.
func Garbage(v *Visit) {
	if _, ok := v.request(bufio.NewReader(v)); ok {
		v.say("\x16\x03\x01\x00\xa5 220 mail.example ESMTP \xff\xfe\r\n\r\n250 OK\r\n")
	}
}

// EarlyAnswer answers 200 as soon as the header is there, and takes the body, slowly, only if it comes whole.
func EarlyAnswer(v *Visit) {
	from := bufio.NewReader(v)
	for {
		r, err := http.ReadRequest(from)
		if err != nil || !v.say(accepted) {
			return
		}
		time.Sleep(20 * time.Millisecond)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		v.take(body)
	}
}

// CloseAsNext takes a request and answers it, keeps the connection, and resets it when the next one begins to come.
func CloseAsNext(v *Visit) {
	from := bufio.NewReader(v)
	if body, ok := v.request(from); ok {
		v.take(body)
		if v.say(accepted) {
			_, _ = from.Peek(1)
			abort(v.Conn)
		}
	}
}
