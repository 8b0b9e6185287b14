package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"logmule/forward/pack"
)

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func say(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

const anyPort = "listen = \"127.0.0.1:0\"\n"

func TestTCPRecords(t *testing.T) {
	st := newStore()
	r := begin[*tcp](t, "tcp", anyPort, st.emit)
	conn := dial(t, r.address)
	say(t, conn, "one\n\ntwo\r\n\x00\xff")
	st.want(t, plain("one", "", "two\r")...)
	say(t, conn, "three\nfour")
	conn.CloseWrite()
	st.want(t, plain("one", "", "two\r", "\x00\xffthree", "four")...)
	eventually(t, "the end of the connection", func() bool { return r.counters.Connections.Load() == 0 })
	if logger := st.mu.packs[0].Logger; logger != conn.LocalAddr().String() {
		t.Errorf("logger %q, want the peer %s", logger, conn.LocalAddr())
	}
	if n := r.counters.Broken.Load() + r.counters.Unfinished.Load(); n != 0 {
		t.Errorf("a clean end counted as broken: %d", n)
	}
}

// TestTCPOrder sends through several connections at once, records of all sizes, and looks at the order of each.
func TestTCPOrder(t *testing.T) {
	st := newStore()
	r := begin[*tcp](t, "tcp", anyPort, st.emit)
	const connections, records = 8, 2000
	var senders sync.WaitGroup
	for c := range connections {
		conn := dial(t, r.address)
		senders.Go(func() {
			defer conn.Close()
			for i := range records {
				fill := i * 7 % 300
				if i%500 == 0 {
					fill = 700_000
				}
				if _, err := fmt.Fprintf(conn, "%d %d %s\n", c, i, strings.Repeat("f", fill)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	senders.Wait()
	var next [connections]int
	for _, l := range st.wait(t, connections*records) {
		var c, i int
		if _, err := fmt.Sscanf(l.text, "%d %d ", &c, &i); err != nil || l.truncated {
			t.Fatalf("record %s: %v", show(l), err)
		}
		if i != next[c] {
			t.Fatalf("connection %d: record %d where %d was due", c, i, next[c])
		}
		next[c]++
	}
}

func TestTCPMaxRecord(t *testing.T) {
	st := newStore()
	r := begin[*tcp](t, "tcp", anyPort+"max_record = \"10B\"\n", st.emit)
	conn := dial(t, r.address)
	say(t, conn, "0123456789\n0123456789a\nb\n"+strings.Repeat("c", 500_000)+"\nd\n")
	st.want(t, line{"0123456789", false}, line{"0123456789", true}, line{"b", false}, line{"cccccccccc", true}, line{"d", false})
	if n := r.counters.Truncated.Load(); n != 2 {
		t.Errorf("%d truncated records counted, want 2", n)
	}
	if text := r.text.String(); !strings.Contains(text, "record cut") || !strings.Contains(text, "sample=") {
		t.Errorf("no sample in the log: %s", text)
	}
}

// TestTCPReset cuts a sender off: its unfinished record is not stored, since it will come again.
func TestTCPReset(t *testing.T) {
	st := newStore()
	r := begin[*tcp](t, "tcp", anyPort, st.emit)
	conn := dial(t, r.address)
	say(t, conn, "one\ntw")
	st.wait(t, 1)
	conn.SetLinger(0)
	conn.Close()
	eventually(t, "the broken connection", func() bool { return r.counters.Broken.Load() == 1 && r.counters.Connections.Load() == 0 })
	compare(t, st.records(), plain("one"))
	if n := r.counters.Unfinished.Load(); n != 1 {
		t.Errorf("%d unfinished records counted, want 1", n)
	}
}

func TestTCPShutdown(t *testing.T) {
	st := newStore()
	r := begin[*tcp](t, "tcp", anyPort, st.emit)
	var conns []net.Conn
	for range 10 {
		conn := dial(t, r.address)
		say(t, conn, "done\n")
		conns = append(conns, conn)
	}
	say(t, conns[0], "unfinished")
	st.wait(t, 10)
	eventually(t, "all connections", func() bool { return r.counters.Connections.Load() == 10 })
	r.stop()
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	for _, l := range st.records() {
		if strings.Contains(l.text, "unfinished") {
			t.Error("an unfinished record was stored at shutdown")
		}
	}
	if _, err := net.Dial("tcp", r.address); err == nil {
		t.Error("still listening after Run returned")
	}
}

// TestTCPShutdownWhileBlocked stops an input whose queue is full, then has room: what was read is handed over.
func TestTCPShutdownWhileBlocked(t *testing.T) {
	st := newStore()
	entered, room := make(chan struct{}), make(chan struct{})
	r := begin[*tcp](t, "tcp", anyPort, func(ctx context.Context, p *pack.Pack) (Receipt, error) {
		close(entered)
		select {
		case <-room:
			return st.emit(ctx, p)
		case <-ctx.Done():
			return Receipt{}, ctx.Err()
		}
	})
	say(t, dial(t, r.address), "one\n")
	<-entered
	r.stop()
	close(room)
	st.want(t, plain("one")...)
}

// TestTCPShutdownWhileFull stops an input whose queue stays full.
func TestTCPShutdownWhileFull(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	r := begin[*tcp](t, "tcp", anyPort, func(ctx context.Context, _ *pack.Pack) (Receipt, error) {
		close(entered)
		<-ctx.Done()
		return Receipt{}, ctx.Err()
	})
	say(t, dial(t, r.address), "one\n")
	<-entered
	r.stop()
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if !strings.Contains(r.text.String(), "hand over records") {
		t.Errorf("nothing in the log about what was read and not stored: %s", r.text)
	}
}

// TestTCPBackPressure lets the queue stand still: the input takes no more than a block, and loses nothing.
func TestTCPBackPressure(t *testing.T) {
	st := newStore()
	entered, room := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r := begin[*tcp](t, "tcp", anyPort, func(ctx context.Context, p *pack.Pack) (Receipt, error) {
		once.Do(func() { close(entered) })
		<-room
		return st.emit(ctx, p)
	})
	const records = 200_000
	conn := dial(t, r.address)
	var sender sync.WaitGroup
	sender.Go(func() {
		defer conn.Close()
		text := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 1000))
		for range records / 1000 {
			if _, err := conn.Write(text); err != nil {
				t.Error(err)
			}
		}
	})
	<-entered
	if used := r.memory.Used(); used > largeBlock {
		t.Errorf("%d bytes of the budget used while the queue is full", used)
	}
	close(room)
	sender.Wait()
	for i, l := range st.wait(t, records) {
		if l.text != strings.Repeat("x", 99) || l.truncated {
			t.Fatalf("record %d is %s", i, show(l))
		}
	}
}

func TestTCPPanic(t *testing.T) {
	st := newStore()
	st.refuse = func(p *pack.Pack) error {
		if string(p.Body) == "boom\n" {
			panic("planted")
		}
		return nil
	}
	r := begin[*tcp](t, "tcp", anyPort, st.emit)
	bad, good := dial(t, r.address), dial(t, r.address)
	say(t, bad, "boom\n")
	if _, err := bad.Read(make([]byte, 1)); err == nil {
		t.Error("the connection survives a panic")
	}
	say(t, good, "fine\n")
	st.want(t, plain("fine")...)
	if n := r.counters.Panics.Load(); n != 1 || !strings.Contains(r.text.String(), "planted") {
		t.Errorf("%d panics counted, log: %s", n, r.text)
	}
}

func TestTCPPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for _, kind := range []string{"tcp", "http"} {
		in, err := New(kind, section(t, kind, fmt.Sprintf("listen = %q\n", address)), Env{Name: "legacy"})
		if err != nil {
			t.Fatal(err)
		}
		err = in.Run(t.Context(), discard)
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("%s: Run returns %v", kind, err)
		}
		for _, want := range []string{address, "input legacy", "change listen in [input.legacy]"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", kind, err, want)
			}
		}
	}
}

// broken is a net.Listener that fails a few times before it works.
type broken struct {
	net.Listener
	faults []error
}

func (b *broken) Accept() (net.Conn, error) {
	if len(b.faults) > 0 {
		err := b.faults[0]
		b.faults = b.faults[1:]
		return nil, &net.OpError{Op: "accept", Err: err}
	}
	return b.Listener.Accept()
}

func TestAcceptTriesAgain(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	env := testEnv(0)
	ln := &listener{Listener: &broken{inner, []error{syscall.EMFILE, syscall.ECONNABORTED, syscall.ENOMEM}}, ctx: ctx, env: &env}
	client := dial(t, inner.Addr().String())
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	client.Close()
	if n := env.Counters.Refused.Load(); n != 3 {
		t.Errorf("%d failures counted, want 3", n)
	}
	cancel()
	ln.Close()
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept returns %v after the end", err)
	}
}

// TestTCPIdleMemory measures what connections cost that have sent a record and fallen silent.
func TestTCPIdleMemory(t *testing.T) {
	const connections, limit = 2000, 12 << 10 // bytes each; 10,000 of them stay below 120 MiB
	var seen atomic.Int64
	r := begin[*tcp](t, "tcp", anyPort, func(context.Context, *pack.Pack) (Receipt, error) {
		seen.Add(1)
		return Receipt{}, nil
	})
	before := memory()
	conns := make([]net.Conn, connections)
	for i := range conns {
		conns[i] = dial(t, r.address)
		say(t, conns[i], "one record and a part of the next\nof which")
	}
	eventually(t, "a record of each connection", func() bool { return seen.Load() == connections })
	var each int64
	defer func() {
		t.Logf("%d bytes per idle connection, the sender's side included; at most %d are wanted", each, limit)
	}()
	eventually(t, "all of them to be idle", func() bool { // a reader may still be on its way back to its read
		each = (memory() - before) / connections
		return each <= limit
	})
	runtime.KeepAlive(conns)
}

// memory is what heap and stacks take.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func BenchmarkTCP(b *testing.B) {
	var seen atomic.Int64
	r := begin[*tcp](b, "tcp", anyPort, func(_ context.Context, p *pack.Pack) (Receipt, error) {
		seen.Add(int64(len(p.Body)))
		return Receipt{}, nil
	})
	conn := dial(b, r.address)
	text := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 2600))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		if _, err := conn.Write(text); err != nil {
			b.Fatal(err)
		}
		n += int64(len(text))
	}
	eventually(b, "all bytes", func() bool { return seen.Load() == n })
}
