package rig

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

// sinkBuffer is what the kernel is asked to hold for a sink of datagrams, so that a busy test loses none.
const sinkBuffer = 16 << 20

// UDPSink is a destination for the udp output: each datagram is a record.
type UDPSink struct {
	Address string
	conn    *net.UDPConn
	arrived func(record []byte)
	reading sync.WaitGroup
}

// NewUDPSink listens on address. arrived gets each datagram; it is called by one goroutine at a time and must not keep it.
func NewUDPSink(address string, arrived func(record []byte)) (*UDPSink, error) {
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("start udp sink: %w", err)
	}
	c, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, fmt.Errorf("start udp sink: %w", err)
	}
	if err := receiveBuffer(c, sinkBuffer); err != nil {
		return nil, errors.Join(fmt.Errorf("start udp sink: %w", err), c.Close())
	}
	s := &UDPSink{Address: c.LocalAddr().String(), conn: c, arrived: arrived}
	s.reading.Go(func() {
		datagram := make([]byte, 64<<10)
		for {
			n, err := c.Read(datagram)
			if err != nil {
				return
			}
			s.arrived(datagram[:n])
		}
	})
	return s, nil
}

// Close ends the sink; what is unread is lost with it.
func (s *UDPSink) Close() {
	_ = s.conn.Close()
	s.reading.Wait()
}

// Dropped is how many datagrams the kernel had no room for. Linux only.
func (s *UDPSink) Dropped() (uint64, error) {
	at := s.conn.LocalAddr().(*net.UDPAddr)
	ip := at.IP.To4()
	local := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], at.Port)
	// /proc/net is that of the first thread, which a test may have put into a network namespace.
	const table = "/proc/thread-self/net/udp"
	sockets, err := os.ReadFile(table)
	if err != nil {
		return 0, fmt.Errorf("count dropped datagrams: %w", err)
	}
	for line := range bytes.Lines(sockets) {
		fields := strings.Fields(string(line))
		if len(fields) > 12 && fields[1] == local {
			return strconv.ParseUint(fields[len(fields)-1], 10, 64)
		}
	}
	return 0, fmt.Errorf("count dropped datagrams: %s is not in %s", s.Address, table)
}
