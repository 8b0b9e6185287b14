//go:build !linux

package rig

import (
	"fmt"
	"net"
	"runtime"
	"time"
)

// errOnlyLinux answers wherever a test needs Linux.
var errOnlyLinux = fmt.Errorf("not on %s; run the black-box tests on Linux", runtime.GOOS)

// Memory is the resident memory of a process, now and at its highest, in bytes.
func Memory(int) (now, peak int64, err error) { return 0, 0, errOnlyLinux }

// CPU is the user and system time that a process itself has used, without its children.
func CPU(int) (time.Duration, error) { return 0, errOnlyLinux }

// Descriptors lists what the open file descriptors of a process are.
func Descriptors(int) ([]string, error) { return nil, errOnlyLinux }

// MountTmpfs mounts a tmpfs of that many bytes at dir; the function it gives unmounts it. It needs root.
func MountTmpfs(string, int64) (unmount func(), err error) { return nil, errOnlyLinux }

// RemountReadOnly makes a tmpfs read-only.
func RemountReadOnly(string) error { return errOnlyLinux }

// Fill writes a file into dir until only leave bytes are free; the function it gives removes that file.
func Fill(string, int64) (empty func(), err error) { return nil, errOnlyLinux }

// Free is the room left on the file system of dir, in bytes.
func Free(string) (int64, error) { return 0, errOnlyLinux }

func receiveBuffer(c *net.UDPConn, size int) error { return c.SetReadBuffer(size) }
