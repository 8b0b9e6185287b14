package input

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch receives many datagrams with one call, recvmmsg(2), and allocates nothing for it. One goroutine uses it.
type batch struct {
	total    uint64 // received so far
	messages []received
	pieces   []unix.Iovec
	names    []unix.RawSockaddrAny
}

// received is the struct mmsghdr of the kernel.
type received struct {
	header unix.Msghdr
	size   uint32
}

func (b *batch) init() {
	b.messages, b.pieces, b.names = make([]received, maxBatch), make([]unix.Iovec, maxBatch), make([]unix.RawSockaddrAny, maxBatch)
}

// receive takes as many datagrams as are there and block has room for, without waiting: the first goes behind
// datagramHead bytes, each further one stride bytes later.
func (b *batch) receive(fd int, block []byte, stride int) (int, error) {
	slots := min(len(block)/stride, maxBatch)
	for i := range slots {
		b.pieces[i].Base = &block[i*stride+datagramHead]
		b.pieces[i].SetLen(stride - datagramHead)
		h := &b.messages[i].header
		*h = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&b.names[i])), Namelen: unix.SizeofSockaddrAny, Iov: &b.pieces[i]}
		h.SetIovlen(1)
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[0])), uintptr(slots), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.total += uint64(n)
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR, unix.ECONNREFUSED: // the latter is about a datagram that was sent
		default:
			return 0, errno
		}
	}
}

// forget lets go of the block.
func (b *batch) forget() { clear(b.pieces) }

// size is that of a datagram, of its head if it was cut.
func (b *batch) size(i int) int { return int(b.messages[i].size) }

// cut tells whether a datagram was longer than its room.
func (b *batch) cut(i int) bool { return b.messages[i].header.Flags&unix.MSG_TRUNC != 0 }

// from is the address of the sender.
func (b *batch) from(i int) []byte {
	size := min(b.messages[i].header.Namelen, unix.SizeofSockaddrAny)
	return unsafe.Slice((*byte)(unsafe.Pointer(&b.names[i])), size)
}

// addressText writes an address as HOST:PORT.
func addressText(address []byte) string {
	if len(address) < 8 {
		return "unknown"
	}
	port := binary.BigEndian.Uint16(address[2:])
	switch binary.NativeEndian.Uint16(address) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(address[4:])), port).String()
	case unix.AF_INET6:
		if len(address) < unix.SizeofSockaddrInet6 {
			break
		}
		ip := netip.AddrFrom16([16]byte(address[8:])).Unmap()
		if scope := binary.NativeEndian.Uint32(address[24:]); scope != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10))
		}
		return netip.AddrPortFrom(ip, port).String()
	}
	return "unknown"
}

// setReceiveBuffer asks for n bytes and returns how many there are.
func setReceiveBuffer(fd, n int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n); err != nil {
		return 0, err
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err == nil && got/2 < n && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) == nil {
		got, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	}
	return got / 2, err // the kernel counts its own needs, and doubles
}

// Numbers of getsockopt(SO_MEMINFO), those of struct sock: how many there are, and which one is its drops.
const (
	memoryNumbers = 9
	memoryDrops   = 8
)

// droppedDatagrams is how many datagrams the kernel has dropped of those for a socket. False: it does not tell.
func droppedDatagrams(fd int) (uint32, bool) {
	var numbers [memoryNumbers]uint32
	size := uint32(unsafe.Sizeof(numbers))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&numbers)), uintptr(unsafe.Pointer(&size)), 0)
	return numbers[memoryDrops], errno == 0 && size == uint32(unsafe.Sizeof(numbers))
}

// peerProcess is the process at the other end of a unix connection, 0 where that is not known.
func peerProcess(fd int) int32 {
	credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return credentials.Pid
}
