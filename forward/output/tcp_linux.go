package output

import (
	"time"

	"golang.org/x/sys/unix"
)

// unacknowledged returns how many bytes written to the socket its peer has not acknowledged.
func unacknowledged(fd uintptr) (int, error) {
	return unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
}

// acknowledged returns how many bytes the peer of the socket has acknowledged.
func acknowledged(fd uintptr) (uint64, error) {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, err
	}
	return info.Bytes_acked, nil
}

// setUserTimeout makes the kernel give a connection up whose peer has not acknowledged anything for that long. Without
// it, writes to a machine that was unplugged succeed for a quarter of an hour.
func setUserTimeout(fd uintptr, timeout time.Duration) error {
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(max(timeout.Milliseconds(), 1)))
}
