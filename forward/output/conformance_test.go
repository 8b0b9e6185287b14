package output_test

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"logmule/forward/config"
	"logmule/forward/output"
	"logmule/forward/output/outputtest"
	"logmule/integration/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// build makes an output from the keys of its section.
func build(t *testing.T, kind, keys string) output.Output {
	t.Helper()
	text := "data_dir = \"/x\"\n[input.i]\ntype = \"stdin\"\n[output.o]\ntype = \"" + kind + "\"\n" + keys
	c, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o, err := output.New(kind, c.Outputs[0].Decode, output.Env{Name: "o"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// tryBuild returns what is wrong with the keys of a section.
func tryBuild(t *testing.T, kind, keys string) error {
	t.Helper()
	c, err := config.Parse("test.toml", []byte("data_dir = \"/x\"\n[input.i]\ntype = \"stdin\"\n[output.o]\ntype = \""+kind+"\"\n"+keys))
	if err != nil {
		t.Fatal(err)
	}
	_, err = output.New(kind, c.Outputs[0].Decode, output.Env{Name: "o"})
	return err
}

func TestConformance(t *testing.T) {
	for kind, factory := range map[string]outputtest.Factory{
		"http": httpDestination, "tcp": tcpDestination, "file": fileDestination, "stdout": stdoutDestination,
	} {
		t.Run(kind, func(t *testing.T) { outputtest.Run(t, factory) })
	}
}

func TestKinds(t *testing.T) {
	if got := strings.Join(output.Kinds(), " "); got != "file http stdout tcp udp unix" {
		t.Errorf("kinds: %s", got)
	}
	if got, want := output.Kinds(), config.OutputKinds; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the configuration knows %v, this package %v", want, got)
	}
	_, err := output.New("htpp", func(any) error { return nil }, output.Env{})
	if err == nil || !strings.Contains(err.Error(), "file, http, stdout, tcp, udp, unix") {
		t.Errorf("got %v", err)
	}
}

// took is what a destination has taken.
type took struct {
	mu  sync.Mutex
	all []byte
}

func (k *took) add(p []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, p...)
}

func (k *took) bytes() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Clone(k.all)
}

func httpDestination(t *testing.T) outputtest.Destination {
	var received took
	var broken atomic.Bool
	var stalled atomic.Bool
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil || broken.Load():
			http.Error(w, "not now", http.StatusServiceUnavailable)
		case stalled.Load():
			<-release
		default:
			received.add(body)
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	return outputtest.Destination{
		Output:   build(t, "http", `url = "`+server.URL+`/in"`),
		Received: received.bytes,
		Break:    func() { broken.Store(true) },
		Mend:     func() { broken.Store(false) },
		Stall:    func() { stalled.Store(true) },
	}
}

// tcpServer keeps whole lines, as a peer that cares does when a connection breaks off.
type tcpServer struct {
	took
	network string                                    // "": tcp
	tls     *tls.Config                               // nil: none
	unframe func(b []byte) (payload []byte, size int) // nil: newline framing; size 0: not there yet
	stalled atomic.Bool
	done    sync.WaitGroup

	live     sync.Mutex // guards what follows
	listener net.Listener
	conns    []net.Conn
}

func (s *tcpServer) start(t *testing.T, address string) {
	var l net.Listener
	outputtest.Await(t, "the address, which somebody else may have been given meanwhile", func() (done bool) {
		var err error
		if l, err = net.Listen(cmp.Or(s.network, "tcp"), address); err != nil && !errors.Is(err, unix.EADDRINUSE) {
			t.Fatal(err)
		}
		return err == nil
	})
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	s.live.Lock()
	s.listener = l
	s.live.Unlock()
	s.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.live.Lock()
			if s.listener == l {
				s.conns = append(s.conns, conn)
			} else {
				conn.Close() // it came just before the stop
			}
			s.live.Unlock()
			switch sealed, ok := conn.(*tls.Conn); {
			case !s.stalled.Load():
				s.done.Go(func() { s.read(conn) })
			case ok:
				s.done.Go(func() { _ = sealed.Handshake() })
			}
		}
	})
}

func (s *tcpServer) read(conn net.Conn) {
	var rest []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		rest = append(rest, buf[:n]...)
		for s.unframe != nil {
			payload, size := s.unframe(rest)
			if size == 0 {
				break
			}
			s.add(append(payload[:len(payload):len(payload)], '\n'))
			rest = rest[size:]
		}
		if end := bytes.LastIndexByte(rest, '\n') + 1; end > 0 && s.unframe == nil {
			s.add(rest[:end])
			rest = rest[end:]
		}
		if err != nil {
			return
		}
	}
}

func (s *tcpServer) stop() {
	s.live.Lock()
	if s.listener != nil {
		s.listener.Close()
	}
	s.listener = nil
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
	s.live.Unlock()
	s.done.Wait()
}

func tcpDestination(t *testing.T) outputtest.Destination {
	var s tcpServer
	s.start(t, "127.0.0.1:0")
	address := s.listener.Addr().String()
	t.Cleanup(s.stop)
	return outputtest.Destination{
		Output:   build(t, "tcp", `address = "`+address+`"`),
		Received: s.bytes,
		Break:    s.stop,
		Mend:     func() { s.start(t, address) },
		Stall:    func() { s.stalled.Store(true) },
	}
}

func fileDestination(t *testing.T) outputtest.Destination {
	dir := filepath.Join(t.TempDir(), "logs")
	name := filepath.Join(dir, "%Y", "app.log")
	return outputtest.Destination{
		Output: build(t, "file", `path = "`+name+`"`),
		Received: func() []byte {
			b, err := os.ReadFile(filepath.Join(dir, "2023", "app.log"))
			if err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
			return b
		},
		Break: func() { must(t, os.Rename(dir, dir+".away")); must(t, os.WriteFile(dir, nil, 0o600)) },
		Mend:  func() { must(t, os.Remove(dir)); must(t, os.Rename(dir+".away", dir)) },
	}
}

// stdoutDestination makes the output write to a pipe. To break it, the descriptor becomes that of another pipe, one that
// nobody reads.
func stdoutDestination(t *testing.T) outputtest.Destination {
	var received took
	var stalled atomic.Bool
	var readers sync.WaitGroup
	release := make(chan struct{})
	r, w := pipe(t)
	readers.Go(func() {
		defer r.Close()
		buf := make([]byte, 64<<10)
		for !stalled.Load() {
			n, err := r.Read(buf)
			received.add(buf[:n])
			if err != nil {
				return
			}
		}
		<-release
	})
	old := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = old }()
	fd := int(w.Fd())
	good, err := unix.Dup(fd)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()); must(t, unix.Close(good)); close(release); readers.Wait() })
	return outputtest.Destination{
		Output:   build(t, "stdout", ""),
		Received: received.bytes,
		Break: func() {
			br, bw := pipe(t)
			must(t, br.Close())
			must(t, unix.Dup2(int(bw.Fd()), fd))
			must(t, bw.Close())
		},
		Mend:  func() { must(t, unix.Dup2(good, fd)) },
		Stall: func() { stalled.Store(true) },
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	must(t, unix.Pipe(fds[:]))
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
