package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/forward/pack"
)

func dialUDP(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// wait returns the records once there are n.
func (w *whole) wait(t testing.TB, n int) []pack.Record {
	t.Helper()
	var records []pack.Record
	eventually(t, fmt.Sprintf("%d records", n), func() bool {
		records, _ = w.all()
		return len(records) >= n
	})
	return records
}

func TestUDPRecords(t *testing.T) {
	got := new(whole)
	r := begin[*udp](t, "udp", anyPort, got.emit)
	conn := dialUDP(t, r.address)
	longest := strings.Repeat("x", 65507)
	sent := []string{"one", "two\n", "three\r\n", "\n\n", "", "a\nb", longest, longest[:65506] + "\n"}
	for i, text := range sent {
		say(t, conn, text)
		record := got.wait(t, i+1)[i]
		if want := strings.TrimSuffix(text, "\n"); string(record.Payload) != want {
			t.Errorf("%.20q came as %.20q of %d bytes", text, record.Payload, len(record.Payload))
		}
		if record.Logger != conn.LocalAddr().String() || record.Type != "test" || record.Hostname != "mule" || record.Severity != 7 || record.Timestamp == 0 || len(record.Fields) != 0 {
			t.Errorf("attributes %+v", record.Attributes)
		}
	}
	if n := r.counters.Truncated.Load() + r.counters.Dropped.Load(); n != 0 {
		t.Errorf("%d things wrong", n)
	}
	if used := r.memory.Used(); used != 0 {
		t.Errorf("an idle input holds %d bytes", used)
	}
}

// held makes the first emit wait until release is called, so that datagrams gather in the socket.
func held(emit Emit) (late Emit, entered chan struct{}, release func()) {
	entered, room := make(chan struct{}), make(chan struct{})
	var once sync.Once
	return func(ctx context.Context, p *pack.Pack) (Receipt, error) {
		once.Do(func() {
			close(entered)
			<-room
		})
		return emit(ctx, p)
	}, entered, sync.OnceFunc(func() { close(room) })
}

// TestUDPOnePack lets datagrams wait in the socket: what is read together is one pack.
func TestUDPOnePack(t *testing.T) {
	got := new(whole)
	emit, entered, release := held(got.emit)
	r := begin[*udp](t, "udp", anyPort, emit)
	defer release()
	a := dialUDP(t, r.address)
	say(t, a, "first")
	<-entered
	for i := range 200 {
		say(t, a, fmt.Sprint("line ", i))
	}
	release()
	records := got.wait(t, 201)
	_, packs := got.all()
	if n := len(packs); n != 2 || !packs[1].Passing || packs[1].Form != pack.Lines || packs[1].Shared.Logger != a.LocalAddr().String() {
		t.Fatalf("%d packs, the last %+v", n, packs[n-1])
	}
	for i, record := range records[1:] {
		if string(record.Payload) != fmt.Sprint("line ", i) {
			t.Fatalf("record %d is %q", i, record.Payload)
		}
	}

	emit, entered, again := held(got.emit)
	r = begin[*udp](t, "udp", anyPort, emit)
	defer again()
	a, b := dialUDP(t, r.address), dialUDP(t, r.address)
	say(t, a, "first")
	<-entered
	from := map[string]string{}
	for i := range 100 {
		conn, text := []net.Conn{a, b}[i%2], fmt.Sprint("line ", i)
		say(t, conn, text)
		from[text] = conn.LocalAddr().String()
	}
	again()
	records = got.wait(t, 302)
	if _, packs = got.all(); len(packs) != 4 || packs[3].Form != pack.Records {
		t.Fatalf("%d packs, the last %+v", len(packs), packs[len(packs)-1])
	}
	for _, record := range records[202:] {
		if record.Logger != from[string(record.Payload)] {
			t.Errorf("%q is said to come from %s", record.Payload, record.Logger)
		}
	}
}

func TestUDPMaxRecord(t *testing.T) {
	for _, framing := range datagramFramings {
		got := new(whole)
		emit, entered, release := held(got.emit)
		r := begin[*udp](t, "udp", anyPort+"max_record = \"5B\"\nframing = \""+framing+"\"\n", emit)
		defer release()
		conn := dialUDP(t, r.address)
		say(t, conn, "first")
		<-entered
		for _, text := range []string{"12345\n", "123456", "ab", strings.Repeat("c", 60_000), "d"} {
			say(t, conn, text)
		}
		release()
		var lines []string
		for _, record := range got.wait(t, 6) {
			lines = append(lines, fmt.Sprintf("%s %d", record.Payload, len(record.Fields)))
		}
		if want := []string{"first 0", "12345 0", "12345 1", "ab 0", "ccccc 1", "d 0"}; !slices.Equal(lines, want) {
			t.Errorf("%s: records %q, want %q", framing, lines, want)
		}
		if n := r.counters.Truncated.Load(); n != 2 || !strings.Contains(r.text.String(), conn.LocalAddr().String()) {
			t.Errorf("%s: %d cut records counted, log %s", framing, n, r.text)
		}
	}
}

func TestUDPLines(t *testing.T) {
	got := new(whole)
	emit, entered, release := held(got.emit)
	r := begin[*udp](t, "udp", anyPort+"framing = \"newline\"\n", emit)
	defer release()
	a, b := dialUDP(t, r.address), dialUDP(t, r.address)
	say(t, a, "first")
	<-entered
	say(t, a, "one\ntwo")
	say(t, a, "three\n\n")
	say(t, a, "")
	say(t, b, "four")
	release()
	var lines []string
	for _, record := range got.wait(t, 6) {
		lines = append(lines, fmt.Sprintf("%s %v", record.Payload, record.Logger == a.LocalAddr().String()))
	}
	if want := []string{"first true", "one true", "two true", "three true", " true", "four false"}; !slices.Equal(lines, want) {
		t.Errorf("records %q, want %q", lines, want)
	}
	_, packs := got.all()
	if len(packs) != 3 {
		t.Errorf("%d packs, want 3", len(packs))
	}
	for _, p := range packs {
		if !p.Passing {
			t.Error("a datagram is not taken while the disk refuses data")
		}
	}
}

// TestUDPStop stops while datagrams wait in the socket: they were taken by this machine, so they are stored.
func TestUDPStop(t *testing.T) {
	got := new(whole)
	emit, entered, release := held(got.emit)
	r := begin[*udp](t, "udp", anyPort, emit)
	defer release()
	conn := dialUDP(t, r.address)
	say(t, conn, "first")
	<-entered
	for i := range 500 {
		say(t, conn, fmt.Sprint("line ", i))
	}
	r.stop()
	release()
	if err := r.end(t); err != nil {
		t.Error(err)
	}
	if records, _ := got.all(); len(records) != 501 {
		t.Errorf("%d records, want 501", len(records))
	}
}

// TestUDPDrain ends the receiving before it has begun: what the socket has is taken all the same.
func TestUDPDrain(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	env, got := testEnv(1<<20), new(whole)
	d, err := newDatagrams(&env, conn, got.emit, "datagram", 100, new(sparing), "")
	if err != nil {
		t.Fatal(err)
	}
	sender := dialUDP(t, conn.LocalAddr().String())
	for range 100 {
		say(t, sender, "x")
	}
	conn.SetReadDeadline(time.Unix(1, 0))
	if err := d.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if records, _ := got.all(); len(records) != 100 {
		t.Errorf("%d records", len(records))
	}
}

// TestUDPCountsWhatItCannotHandOver has an emit that fails: every datagram that was received counts, whichever of those that
// came together it fails for.
func TestUDPCountsWhatItCannotHandOver(t *testing.T) {
	refuse := func(context.Context, *pack.Pack) (Receipt, error) {
		return Receipt{}, errors.New("the queue is closed")
	}
	for _, c := range []struct{ framing, first, others string }{
		{"newline", "one\n", "two\n"},
		{"newline", "a line that is too long\n", "two\n"},
		{"newline", "one\n", strings.Repeat("x", maxDatagram-datagramHead)}, // longer than its room: it is cut
		{"datagram", "one", "two"},
		{"datagram", "one", "a record that is too long"},
	} {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		env := testEnv(1 << 20)
		d, err := newDatagrams(&env, conn, refuse, c.framing, 10, new(sparing), "")
		if err != nil {
			t.Fatal(err)
		}
		a, b := dialUDP(t, conn.LocalAddr().String()), dialUDP(t, conn.LocalAddr().String())
		say(t, a, c.first)
		for range 3 {
			say(t, b, c.others)
			say(t, a, c.first)
		}
		conn.SetReadDeadline(time.Unix(1, 0))
		if err := d.run(t.Context()); err == nil {
			t.Errorf("%s: no error", c.framing)
		}
		if taken, dropped := d.batch.total, env.Counters.Dropped.Load(); taken == 0 || dropped != taken {
			t.Errorf("%s, %.10q and %.10q: %d datagrams were received and %d counted", c.framing, c.first, c.others, taken, dropped)
		}
	}
}

// TestUDPDrops sends more than the kernel holds while the queue takes nothing.
func TestUDPDrops(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel does not tell what it drops")
	}
	got := new(whole)
	emit, entered, release := held(got.emit)
	r := begin[*udp](t, "udp", anyPort+"receive_buffer = \"64KiB\"\n", emit)
	defer release()
	conn := dialUDP(t, r.address)
	say(t, conn, "first")
	<-entered
	const sent = 1000
	began := time.Now()
	for range sent {
		say(t, conn, strings.Repeat("x", 1000))
	}
	eventually(t, "drops, while the queue is full", func() bool { return r.counters.Dropped.Load() > 0 })
	release()
	eventually(t, "all that was not dropped", func() bool {
		records, _ := got.all()
		return uint64(len(records)-1)+r.counters.Dropped.Load() == sent
	})
	text := r.text.String()
	if n := strings.Count(text, "the kernel dropped datagrams"); n < 1 || n > 1+int(time.Since(began)/time.Second) {
		t.Errorf("%d lines, want one a second at most: %s", n, text)
	}
}

func TestUDPRefuses(t *testing.T) {
	for keys, want := range map[string]string{
		"":                                      "listen is missing",
		"listen = \"0.0.0.0:1\"\n":              "add insecure = true",
		anyPort + "framing = \"heka\"\n":        `framing = "heka" is not known; use "datagram", "newline"`,
		anyPort + "receive_buffer = \"2GiB\"\n": "receive_buffer",
		anyPort + "max_record = \"0B\"\n":       "max_record",
		anyPort + "codec = \"json\"\n":          "codec",
		anyPort + "tls.enabled = true\n":        "tls",
	} {
		if _, err := New("udp", section(t, "udp", keys), Env{Name: "test"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %q: New returns %v", keys, err)
		}
	}
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	in, err := New("udp", section(t, "udp", fmt.Sprintf("listen = %q\n", taken.LocalAddr())), Env{Name: "legacy"})
	if err != nil {
		t.Fatal(err)
	}
	if claim := in.(*udp).Claim(); claim != "udp address "+taken.LocalAddr().String() {
		t.Errorf("claims %q", claim)
	}
	if err := in.Run(t.Context(), discard); err == nil || !strings.Contains(err.Error(), "another process listens there") || !strings.Contains(err.Error(), "[input.legacy]") {
		t.Errorf("Run returns %v", err)
	}
}

func TestUDPOverIPv6(t *testing.T) {
	got := new(whole)
	r := begin[*udp](t, "udp", "listen = \"[::]:0\"\ninsecure = true\ncodec = \"syslog\"\n", got.emit)
	_, port, _ := net.SplitHostPort(r.address)
	for i, host := range []string{"127.0.0.1", "::1"} {
		conn, err := net.Dial("udp", net.JoinHostPort(host, port))
		if err != nil {
			t.Skip(err)
		}
		say(t, conn, "<11>1 - box - - - - text")
		record := got.wait(t, i+1)[i]
		if record.Hostname != "box" || string(record.Payload) != "text" {
			t.Errorf("record %+v", record)
		}
		if _, packs := got.all(); packs[i].Shared.Logger != conn.LocalAddr().String() {
			t.Errorf("the peer is %s, want %s", packs[i].Shared.Logger, conn.LocalAddr())
		}
		conn.Close()
	}
}

func TestPeersAreFew(t *testing.T) {
	var p peers
	for i := range 10 * maxPeers {
		address := bytes.Repeat([]byte{0}, 16)
		copy(address, []byte{2, 0, 0, 80, 10, 0, byte(i >> 8), byte(i)})
		if runtime.GOOS == "linux" {
			if want := fmt.Sprintf("10.0.%d.%d:80", i>>8, i&255); p.name(address) != want {
				t.Fatalf("got %s, want %s", p.name(address), want)
			}
		}
	}
	if len(p.names) > maxPeers {
		t.Errorf("%d names are kept", len(p.names))
	}
}

func BenchmarkUDP(b *testing.B) {
	var count, packs int
	done := make(chan struct{})
	r := begin[*udp](b, "udp", anyPort, func(_ context.Context, p *pack.Pack) (Receipt, error) {
		count += p.Count
		packs++
		if bytes.HasSuffix(p.Body, []byte("end\n")) {
			close(done)
		}
		return Receipt{}, nil
	})
	conn := dialUDP(b, r.address)
	text := []byte(strings.Repeat("x", 200))
	for b.Loop() {
		conn.Write(text)
	}
	conn.Write([]byte("end"))
	<-done
	b.ReportMetric(float64(count)/float64(packs), "records/pack")
	b.ReportMetric(float64(b.N+1-count), "lost")
}
