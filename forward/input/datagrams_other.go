//go:build !linux

package input

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// batch receives one datagram with each call. One goroutine uses it.
type batch struct {
	total uint64
	bytes int
	full  bool
	name  []byte
}

func (b *batch) init()   {}
func (b *batch) forget() {}

func (b *batch) receive(fd int, block []byte, stride int) (int, error) {
	for {
		n, from, err := unix.Recvfrom(fd, block[datagramHead:stride], unix.MSG_DONTWAIT)
		switch err {
		case nil:
			b.total++
			b.bytes, b.full = n, n == stride-datagramHead
			b.name = b.name[:0]
			switch a := from.(type) {
			case *unix.SockaddrInet4:
				b.name = append(b.name, netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()...)
			case *unix.SockaddrInet6:
				b.name = append(b.name, netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)).String()...)
			}
			return 1, nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR, unix.ECONNREFUSED:
		default:
			return 0, err
		}
	}
}

func (b *batch) size(int) int           { return b.bytes }
func (b *batch) cut(int) bool           { return b.full }
func (b *batch) from(int) []byte        { return b.name }
func addressText(address []byte) string { return string(address) }

// setReceiveBuffer asks for n bytes and returns how many there are.
func setReceiveBuffer(fd, n int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n); err != nil {
		return 0, err
	}
	return unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
}

// droppedDatagrams would be how many datagrams the kernel has dropped. It does not tell here.
func droppedDatagrams(int) (uint32, bool) { return 0, false }

// peerProcess would be the process at the other end of a unix connection. It is not asked for here.
func peerProcess(int) int32 { return 0 }
