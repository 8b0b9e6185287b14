package output

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// keepRefusals makes the kernel keep what comes back for datagrams in a queue of its own. Sending many at once forgets it:
// a datagram that meets the error of the one before only ends that call early.
func keepRefusals(fd uintptr) error {
	domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	switch {
	case err != nil:
		return err
	case domain == unix.AF_INET6:
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}

// keptRefusal empties that queue and returns the last error in it that came from the network, or 0.
func keptRefusal(fd uintptr) (last syscall.Errno) {
	var sent [1]byte
	var about [256]byte
	for {
		_, n, _, _, err := unix.Recvmsg(int(fd), sent[:], about[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return last
		}
		messages, err := unix.ParseSocketControlMessage(about[:n])
		if err != nil {
			continue
		}
		for _, m := range messages {
			// struct sock_extended_err: the error, then where it comes from.
			if len(m.Data) < 5 || m.Header.Type != unix.IP_RECVERR && m.Header.Type != unix.IPV6_RECVERR {
				continue
			}
			errno, from := syscall.Errno(binary.NativeEndian.Uint32(m.Data)), m.Data[4]
			if (from == unix.SO_EE_ORIGIN_ICMP || from == unix.SO_EE_ORIGIN_ICMP6) && errno != syscall.EMSGSIZE {
				last = errno
			}
		}
	}
}
