package rig

import (
	"net"

	"golang.org/x/sys/unix"
)

// receiveBuffer lets the kernel hold so many bytes of datagrams: beyond the system's limit where this is root.
func receiveBuffer(c *net.UDPConn, size int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	forced := error(nil)
	if err := raw.Control(func(fd uintptr) {
		forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
	}); err != nil {
		return err
	}
	if forced != nil {
		return c.SetReadBuffer(size)
	}
	return nil
}
