package rig

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// TCPSink is a destination for the tcp and unix outputs: newline framing, no answer.
type TCPSink struct {
	Address  string
	Slow     time.Duration // pause after each read of up to 64 KiB; set before the first connection
	listener net.Listener
	arrived  func(record []byte)
	stop     chan struct{}
	reading  sync.Mutex // one connection after the other, in the order of their coming

	mu          sync.Mutex
	connections map[net.Conn]struct{} // nil: closed
	accepted    int
}

// NewTCPSink listens on address. arrived gets each whole line without its LF; it is called by one goroutine at a time and must not keep it.
func NewTCPSink(address string, arrived func(record []byte)) (*TCPSink, error) {
	return newStreamSink("tcp", address, arrived)
}

// NewUnixSink is NewTCPSink for the unix output: it listens on the socket at path.
func NewUnixSink(path string, arrived func(record []byte)) (*TCPSink, error) {
	return newStreamSink("unix", path, arrived)
}

func newStreamSink(network, address string, arrived func(record []byte)) (*TCPSink, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("start %s sink: %w", network, err)
	}
	s := &TCPSink{Address: l.Addr().String(), listener: l, arrived: arrived, stop: make(chan struct{}), connections: map[net.Conn]struct{}{}}
	go s.accept()
	return s, nil
}

// Close ends the sink and its connections; what is unread is lost with them.
func (s *TCPSink) Close() {
	close(s.stop)
	_ = s.listener.Close()
	s.mu.Lock()
	for c := range s.connections {
		_ = c.Close()
	}
	s.connections = nil
	s.mu.Unlock()
	s.reading.Lock() // the last reader has returned: nothing arrives any more
	defer s.reading.Unlock()
}

// Left says whether no client is connected any more and all that they sent has been read.
func (s *TCPSink) Left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.connections) == 0
}

// Accepted counts the connections.
func (s *TCPSink) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

func (s *TCPSink) accept() {
	turn := make(chan struct{})
	close(turn)
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.connections == nil { // it came just before the end
			_ = c.Close()
		} else {
			s.connections[c] = struct{}{}
			s.accepted++
		}
		s.mu.Unlock()
		before, after := turn, make(chan struct{})
		turn = after
		go func() {
			defer close(after)
			<-before
			s.read(c)
		}()
	}
}

func (s *TCPSink) read(c net.Conn) {
	s.reading.Lock()
	defer s.reading.Unlock()
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.connections, c)
		s.mu.Unlock()
	}()
	r := bufio.NewReaderSize(c, 64<<10)
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			s.arrived(bytes.TrimSuffix(line, []byte{'\n'}))
			line = line[:0]
		} else if !errors.Is(err, bufio.ErrBufferFull) {
			return // a last line without LF was torn by the end of the connection: it comes again
		}
		if s.Slow > 0 && r.Buffered() == 0 {
			select {
			case <-s.stop:
				return
			case <-time.After(s.Slow):
			}
		}
		select {
		case <-s.stop:
			return
		default:
		}
	}
}

// Deaf is a destination that accepts connections and never reads.
type Deaf struct {
	Address  string
	listener net.Listener

	mu          sync.Mutex
	connections []net.Conn
	closed      bool
}

// NewDeaf listens on address.
func NewDeaf(address string) (*Deaf, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start deaf sink: %w", err)
	}
	d := &Deaf{Address: l.Addr().String(), listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			if d.closed { // it came just before the end
				_ = c.Close()
			}
			d.connections = append(d.connections, c)
			d.mu.Unlock()
		}
	}()
	return d, nil
}

// Close ends the sink and its connections.
func (d *Deaf) Close() {
	_ = d.listener.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, c := range d.connections {
		_ = c.Close()
	}
}
