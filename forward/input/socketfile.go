package input

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchEvery is how often the file of a socket is looked at.
const watchEvery = time.Second

// probeLimit is how long it may take to find out whether somebody listens at a path.
const probeLimit = 2 * time.Second

// socketFile is the file of a unix socket, or its name where it has none ("@NAME"). One goroutine uses it at a time.
type socketFile struct {
	path      string
	mode      uint32 // permissions
	datagrams bool
	made      fs.FileInfo // the file that bind made; nil: none, or it was removed
}

// boundSocket is a unix socket in use: one of the two.
type boundSocket struct {
	listener *net.UnixListener
	conn     *net.UnixConn
}

// end lets who uses the socket come to an end.
func (s *boundSocket) end() {
	if s.listener != nil {
		s.listener.Close()
		return
	}
	s.conn.SetReadDeadline(time.Unix(1, 0))
}

func (s *boundSocket) close() {
	if s.listener != nil {
		s.listener.Close()
		return
	}
	s.conn.Close()
}

// check judges the key path.
func (f *socketFile) check() error {
	longest := len(syscall.RawSockaddrUnix{}.Path) - 1
	switch {
	case f.path == "":
		return errors.New(`path is missing; say where the socket is to be, for example path = "/run/logmule/log.sock"`)
	case f.abstract() && (runtime.GOOS != "linux" || f.path == "@"):
		return fmt.Errorf("path = %q cannot be the name of a socket; use the path of a file", f.path)
	case len(f.path) > longest:
		return fmt.Errorf("path = %q has %d bytes, and a socket's can have %d; use a shorter one", f.path, len(f.path), longest)
	}
	return nil
}

func (f *socketFile) abstract() bool { return strings.HasPrefix(f.path, "@") }

// bind makes the socket. A socket that nobody listens at any more is replaced, nothing else ever is.
func (f *socketFile) bind(ctx context.Context) (*boundSocket, error) {
	if !f.abstract() {
		if err := f.clear(ctx); err != nil {
			return nil, err
		}
	}
	s, err := f.open(ctx)
	if err != nil {
		return nil, f.explain(err)
	}
	if f.abstract() {
		return s, nil
	}
	// The umask may have taken permissions away that are wanted.
	if err := os.Chmod(f.path, fs.FileMode(f.mode)); err != nil {
		s.close()
		return nil, fmt.Errorf("%w; change path or mode", err)
	}
	if f.made, err = os.Lstat(f.path); err != nil {
		s.close()
		return nil, fmt.Errorf("%w; change path", err)
	}
	return s, nil
}

func (f *socketFile) open(ctx context.Context) (*boundSocket, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		// On Linux the file is born with these permissions at most: there is no moment in which others could connect.
		return raw.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), f.mode) })
	}}
	if f.datagrams {
		conn, err := config.ListenPacket(ctx, "unixgram", f.path)
		if err != nil {
			return nil, err
		}
		return &boundSocket{conn: conn.(*net.UnixConn)}, nil
	}
	ln, err := config.Listen(ctx, "unix", f.path)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	return &boundSocket{listener: ln.(*net.UnixListener)}, nil
}

// explain says what to do about an error of bind.
func (f *socketFile) explain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the path, which stands before it
	}
	hint := "change path"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another process listens there: stop it, or change path"
	case errors.Is(err, syscall.ENOENT):
		hint = "make the directory that it is to be in, or change path"
	case errors.Is(err, syscall.EACCES):
		hint = "allow writing to the directory that it is to be in, or change path"
	}
	return fmt.Errorf("%w; %s", err, hint)
}

// clear removes a socket that nobody listens at.
func (f *socketFile) clear(ctx context.Context) error {
	info, err := os.Lstat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w; change path", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is no socket is there, and stays; move it away, or change path")
	}
	err = f.probe(ctx)
	switch {
	case err == nil:
		return errors.New("another process listens there; stop it, or change path")
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("a socket is there, and it is not known whether anybody listens: %w; remove it, or change path", err)
	}
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; remove it, or change path", err)
	}
	return nil
}

// probe connects to whoever listens at the path, whatever kind of socket that is.
func (f *socketFile) probe(ctx context.Context) error {
	var err error
	dialer := net.Dialer{Timeout: probeLimit}
	for _, network := range []string{"unix", "unixgram", "unixpacket"} {
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, network, f.path); err == nil {
			return conn.Close()
		}
		if !errors.Is(err, syscall.EPROTOTYPE) {
			break
		}
	}
	return err
}

// watch returns when the file is no longer the one that bind made, or ctx has ended.
func (f *socketFile) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for ctx.Err() == nil && (f.made == nil || f.there()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// there tells whether the file is still the one that bind made.
func (f *socketFile) there() bool {
	info, err := os.Lstat(f.path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) // not being allowed to look says nothing
	}
	return os.SameFile(info, f.made)
}

// remove removes the file if it is still the one that bind made.
func (f *socketFile) remove() {
	if f.made != nil && f.there() {
		_ = os.Remove(f.path) // a socket left behind is found out to be one at the next start
	}
	f.made = nil
}
