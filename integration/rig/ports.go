package rig

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Ports from firstPort on are below those that the kernel gives to whoever asks for any, so that nobody gets one by chance
// between the moment it is given here and the one it is used.
const (
	firstPort = 20000
	ports     = 12000
)

// given are the ports that FreeAddress has given in this process, and the file on which it has locked a byte for each, which
// keeps other processes of the tests away from them until this one ends.
var given struct {
	mu    sync.Mutex
	ports map[int]bool
	locks *os.File
}

// FreeAddress is a port of loopback that nothing listens on, that it has not given before, and that no other process of the
// tests is given while this one runs.
func FreeAddress() (string, error) {
	given.mu.Lock()
	defer given.mu.Unlock()
	if given.locks == nil {
		locks, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("logmule-test-ports-%d", os.Getuid())), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return "", fmt.Errorf("find free port: %w", err)
		}
		given.locks, given.ports = locks, map[int]bool{}
	}
	for range 10 * ports {
		port := firstPort + rand.IntN(ports)
		if given.ports[port] || !reserve(port) {
			continue
		}
		given.ports[port] = true
		address := fmt.Sprintf("127.0.0.1:%d", port)
		stream, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		datagrams, err := net.ListenPacket("udp", address)
		if err != nil {
			_ = stream.Close()
			continue
		}
		if err := errors.Join(stream.Close(), datagrams.Close()); err != nil {
			return "", fmt.Errorf("find free port: %w", err)
		}
		return address, nil
	}
	return "", errors.New("find free port: none is left")
}

// reserve locks the byte of a port; false where another process has it.
func reserve(port int) bool {
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: int64(port), Len: 1}
	return syscall.FcntlFlock(given.locks.Fd(), syscall.F_SETLK, &lock) == nil
}
