// Faultdisk is a file system that forgets, refuses, lies and stops on command: the disk under the black-box tests. It is
// served through FUSE by this process, so that any program can be put on it, and it is one mount: package disk, beside it,
// starts it and sends its commands, a line of JSON each on standard input, each answered by a line on standard output.
//
// Bytes become durable by fsync of their file, names by fsync of their directory, and in no other way. What is durable is in
// the backing directory, and only there; what is not is in the memory of this process. So its end by SIGKILL is a power loss
// that drops all that was not synced, and a new process on the same backing directory finds what there is. When standard
// input ends, it unmounts and ends.
//
// It has to be a process of its own: a program that uses a file system which it serves itself can wait for itself.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	mount := flag.String("mount", "", "mount point")
	backing := flag.String("backing", "", "directory of what is durable")
	free := flag.Int64("free", 0, "room in bytes of a new disk; 0: no limit")
	flag.Parse()
	out := &teller{to: os.Stdout}
	if err := run(*mount, *backing, *free, out); err != nil {
		out.tell(answer{Error: err.Error()})
		fmt.Fprintln(os.Stderr, "faultdisk:", err)
		os.Exit(1)
	}
}

// run serves until standard input ends.
func run(mount, backing string, free int64, out *teller) error {
	d, err := openDisk(backing, free, func() { out.tell(answer{Frozen: true}) })
	if err != nil {
		return fmt.Errorf("open backing directory: %w", err)
	}
	d.server, err = fuse.NewServer(d, mount, &fuse.MountOptions{
		FsName:             fmt.Sprintf("logmule-faultdisk-%d", os.Getpid()),
		Name:               "faultdisk",
		AllowOther:         true,
		Options:            []string{"default_permissions"},
		DirectMountStrict:  true,
		MaxBackground:      128,
		MaxWrite:           1 << 20,
		DisableXAttrs:      true,
		DisableReadDirPlus: true,
		Logger:             log.New(printer{d}, "", 0),
	})
	if err != nil {
		return fmt.Errorf("mount at %s: %w; it needs root and /dev/fuse", mount, err)
	}
	go d.server.Serve() // it ends with the process: a mount that somebody uses is served until then
	out.tell(answer{})
	obeyed := make(chan error, 1)
	go func() { obeyed <- d.obey(os.Stdin, out) }()
	select {
	case err = <-obeyed:
	case <-orphaned(os.Getppid()):
		err = errors.New("who started this was killed")
	}
	d.release()
	// Whoever still has a file open keeps the mount alive until this process ends.
	if unmountErr := syscall.Unmount(mount, syscall.MNT_DETACH); unmountErr != nil {
		err = errors.Join(err, fmt.Errorf("unmount %s: %w", mount, unmountErr))
	}
	return err
}

// orphaned is closed when the process that started this one was killed. Mostly standard input ends then, but not while one of
// its threads waits for this disk: a killed process closes nothing before its last thread is gone.
func orphaned(owner int) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for range time.Tick(200 * time.Millisecond) {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", owner))
			if err != nil || killed(status) || os.Getppid() != owner {
				return
			}
		}
	}()
	return gone
}

// killed tells from the status page of a process whether it is ending: its first thread is gone, or is told to go and cannot,
// because that is the one that waits.
func killed(status []byte) bool {
	for line := range bytes.Lines(status) {
		what, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(what) {
		case "State":
			if bytes.HasPrefix(value, []byte("Z")) {
				return true
			}
		case "SigPnd":
			pending, err := strconv.ParseUint(string(value), 16, 64)
			if err == nil && pending&(1<<(syscall.SIGKILL-1)) != 0 {
				return true
			}
		}
	}
	return false
}

// printer prints what the FUSE library logs, but not that the connection ends when it is ended.
type printer struct{ d *disk }

func (p printer) Write(b []byte) (int, error) {
	select {
	case <-p.d.released:
		return len(b), nil
	default:
		return os.Stderr.Write(b)
	}
}
