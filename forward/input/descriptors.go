package input

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Of the descriptors that the process may have, a quarter and at most keptMost are not for connections: the queue needs
// them for segments, outputs for their destinations, and the admin pages to say what is wrong.
const (
	keptShare = 4
	keptMost  = 256
)

// mayServe waits until connections may have the descriptor of conn, or until ctx ends: then it says false. Those who come
// meanwhile wait in the kernel.
func (l *listener) mayServe(conn net.Conn) bool {
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return true
	}
	free := func() (ok bool) {
		err := raw.Control(func(fd uintptr) { ok = withinShare(int(fd)) })
		return ok || err != nil
	}
	if free() {
		return true
	}
	l.env.Counters.Refused.Add(1)
	if l.warned.allow(time.Now()) {
		l.env.Log.Warn("connections have taken all descriptors that they may, new ones wait; raise the limit of open files (ulimit -n, LimitNOFILE=)", "input", l.env.Name)
	}
	return pollUntil(l.ctx, free)
}

// withinShare says whether fewer descriptors than connections may take are in use: the system gives the lowest number
// that is free, so one that is given, or could be, tells how many there are at least.
func withinShare(fd int) bool {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return true
	}
	most := uint64(limit.Cur) - min(uint64(limit.Cur)/keptShare, keptMost)
	if uint64(fd) < most {
		return true
	}
	lowest, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return false
	}
	_ = unix.Close(lowest)
	return uint64(lowest) < most
}

// pollUntil looks at a condition that nobody signals until it holds, or until ctx ends: then it says false.
func pollUntil(ctx context.Context, holds func() bool) bool {
	for wait := firstAcceptWait; !holds(); wait = min(2*wait, lastAcceptWait) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
	return true
}
