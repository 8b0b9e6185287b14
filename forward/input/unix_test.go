package input

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"logmule/forward/pack"
)

func dialUnix(t testing.TB, network, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial(network, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn)
}

// socketKeys are the keys of a socket in a directory of its own.
func socketKeys(t testing.TB, more string) (path, keys string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "mule") // shorter than that of the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	return path, fmt.Sprintf("path = %q\n%s", path, more)
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return os.IsNotExist(err)
}

func TestUnixStream(t *testing.T) {
	got := new(whole)
	path, keys := socketKeys(t, "")
	r := begin[*unixSocket](t, "unix", keys, got.emit)
	if r.address != path {
		t.Errorf("ready at %q", r.address)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	conn := dialUnix(t, "unix", path)
	say(t, conn, "one\ntwo")
	conn.CloseWrite()
	records := got.wait(t, 2)
	if string(records[1].Payload) != "two" || records[0].Logger != path || runtime.GOOS == "linux" && records[0].Pid != int32(os.Getpid()) {
		t.Errorf("records %+v", records)
	}
	r.stop()
	if err := r.end(t); err != nil || !gone(path) {
		t.Errorf("Run returns %v, the file is gone: %v", err, gone(path))
	}
}

func TestUnixDatagrams(t *testing.T) {
	got := new(whole)
	path, keys := socketKeys(t, "socket = \"datagram\"\nmode = \"0666\"\n")
	r := begin[*unixSocket](t, "unix", keys, got.emit)
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("the file is %v, %v", info, err)
	}
	conn := dialUnix(t, "unixgram", path)
	for i, text := range []string{"one\n", "", "two\nlines", strings.Repeat("x", 65536), strings.Repeat("x", 65537)} {
		say(t, conn, text)
		record, want := got.wait(t, i+1)[i], strings.TrimSuffix(text, "\n")
		if len(want) > 65536 {
			want = want[:65536]
		}
		if string(record.Payload) != want || record.Logger != path || (len(record.Fields) > 0) != (len(text) > 65536) {
			t.Errorf("%.20q came as %+v", text, record.Attributes)
		}
	}
	r.stop()
	if err := r.end(t); err != nil || !gone(path) {
		t.Errorf("Run returns %v, the file is gone: %v", err, gone(path))
	}
}

// TestUnixLines sends lines in a datagram that is longer than the room for it.
func TestUnixLines(t *testing.T) {
	got := new(whole)
	path, keys := socketKeys(t, "socket = \"datagram\"\nframing = \"newline\"\nmax_record = \"40000B\"\n")
	begin[*unixSocket](t, "unix", keys, got.emit)
	conn := dialUnix(t, "unixgram", path)
	say(t, conn, strings.Repeat("a", 30_000)+"\n"+strings.Repeat("b", 30_000)+"\n"+strings.Repeat("c", 30_000)+"\n")
	say(t, conn, "d\n")
	var sizes []string
	for _, record := range got.wait(t, 4) {
		sizes = append(sizes, fmt.Sprint(len(record.Payload), len(record.Fields)))
	}
	if all := strings.Join(sizes, ", "); all != "30000 0, 30000 0, 5534 1, 1 0" {
		t.Errorf("records of %s", all)
	}
}

func TestUnixAbstract(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("names without a file are Linux's")
	}
	for network, socket := range map[string]string{"unix": "stream", "unixgram": "datagram"} {
		got := new(whole)
		name := fmt.Sprintf("@logmule-test-%d-%s", os.Getpid(), socket)
		keys := fmt.Sprintf("path = %q\nsocket = %q\n", name, socket)
		begin[*unixSocket](t, "unix", keys, got.emit)
		say(t, dialUnix(t, network, name), "one\n")
		if record := got.wait(t, 1)[0]; string(record.Payload) != "one" || record.Logger != name {
			t.Errorf("record %+v", record)
		}
		in, err := New("unix", section(t, "unix", keys), Env{Name: "other"})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Run(t.Context(), discard); err == nil || !strings.Contains(err.Error(), "another process listens there") {
			t.Errorf("a second one gets %v", err)
		}
	}
}

// TestUnixFile looks at what is done about a file that is at the path.
func TestUnixFile(t *testing.T) {
	for _, socket := range []string{"stream", "datagram"} {
		path, keys := socketKeys(t, "socket = \""+socket+"\"\n")
		run := func() error {
			in, err := New("unix", section(t, "unix", keys), Env{Name: "app"})
			if err != nil {
				t.Fatal(err)
			}
			return in.Run(t.Context(), discard)
		}
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(); err == nil || !strings.Contains(err.Error(), "no socket") || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "[input.app]") {
			t.Errorf("beside a file: %v", err)
		}
		if text, _ := os.ReadFile(path); string(text) != "precious" {
			t.Fatal("the file was removed")
		}
		os.Remove(path)

		// Sockets in use, of both kinds.
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := run(); err == nil || !strings.Contains(err.Error(), "another process listens there") || !strings.Contains(err.Error(), path) {
			t.Errorf("beside a listener: %v", err)
		}
		ln.Close()
		conn, err := net.ListenPacket("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := run(); err == nil || !strings.Contains(err.Error(), "another process listens there") {
			t.Errorf("beside a receiver: %v", err)
		}
		conn.Close()
		if gone(path) {
			t.Fatal("nothing is left behind: this tests nothing")
		}

		// One that nobody listens at any more.
		r := begin[*unixSocket](t, "unix", keys, discard)
		r.stop()
		if err := r.end(t); err != nil || !gone(path) {
			t.Errorf("Run returns %v, the file is gone: %v", err, gone(path))
		}
	}
	_, keys := socketKeys(t, "")
	in, err := New("unix", section(t, "unix", strings.Replace(keys, "/s\"", "/none/s\"", 1)), Env{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Run(t.Context(), discard); err == nil || !strings.Contains(err.Error(), "make the directory") {
		t.Errorf("without a directory: %v", err)
	}
}

// TestUnixAgain takes the file of the socket away: it is made again, and who is connected stays so.
func TestUnixAgain(t *testing.T) {
	for network, socket := range map[string]string{"unix": "stream", "unixgram": "datagram"} {
		t.Run(socket, func(t *testing.T) {
			t.Parallel()
			got := new(whole)
			path, keys := socketKeys(t, "socket = \""+socket+"\"\n")
			r := begin[*unixSocket](t, "unix", keys, got.emit)
			old := dialUnix(t, network, path)
			say(t, old, "one\n")
			got.wait(t, 1)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the file", func() bool { return r.counters.Rebinds.Load() == 1 })
			say(t, dialUnix(t, network, path), "two\n")
			got.wait(t, 2)
			if socket == "stream" {
				say(t, old, "three\n")
				got.wait(t, 3)
			}

			// Replaced by one that another process listens at: it keeps its place.
			thief, err := net.Listen("unix", path+"2")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+"2", path); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a complaint", func() bool { return strings.Contains(r.text.String(), "cannot be made again yet") })
			if n := r.counters.Rebinds.Load(); n != 1 {
				t.Errorf("made again %d times", n)
			}
			thief.Close()
			eventually(t, "the file", func() bool { return r.counters.Rebinds.Load() == 2 })
			say(t, dialUnix(t, network, path), "four\n")
			eventually(t, "the record", func() bool {
				records, _ := got.all()
				return string(records[len(records)-1].Payload) == "four"
			})

			// At the end a file that is not its own stays.
			if err := os.WriteFile(path+"2", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+"2", path); err != nil {
				t.Fatal(err)
			}
			r.stop()
			if err := r.end(t); err != nil || gone(path) {
				t.Errorf("Run returns %v, somebody's file is gone: %v", err, gone(path))
			}
		})
	}
}

// TestUnixDatagramStop stops while datagrams wait in the socket.
func TestUnixDatagramStop(t *testing.T) {
	got := new(whole)
	emit, entered, release := held(got.emit)
	path, keys := socketKeys(t, "socket = \"datagram\"\n")
	r := begin[*unixSocket](t, "unix", keys, emit)
	defer release()
	conn := dialUnix(t, "unixgram", path)
	say(t, conn, "first")
	<-entered
	for i := range 5 { // the kernel lets ten wait
		say(t, conn, fmt.Sprint("line ", i))
	}
	r.stop()
	release()
	err := r.end(t)
	if records, _ := got.all(); err != nil || len(records) != 6 {
		t.Errorf("%d records, Run returns %v", len(records), err)
	}
}

func TestUnixTLS(t *testing.T) {
	tlsKeys, trust := certificate(t)
	st := new(whole)
	path, keys := socketKeys(t, "framing = \"auto\"\n"+tlsKeys)
	begin[*unixSocket](t, "unix", keys, st.emit)
	conn := tls.Client(dialUnix(t, "unix", path), &tls.Config{RootCAs: trust, ServerName: "127.0.0.1"})
	say(t, conn, "8 <1>a\nbcd")
	if record := st.wait(t, 1)[0]; string(record.Payload) != "<1>a\nbcd" {
		t.Errorf("record %+v", record)
	}
}

func TestUnixRefuses(t *testing.T) {
	const path = "path = \"/run/x\"\n"
	for keys, want := range map[string]string{
		"":               "path is missing",
		"path = \"@\"\n": "path = ",
		"path = \"/" + strings.Repeat("x", 120) + "\"\n":                    "use a shorter one",
		path + "socket = \"dgram\"\n":                                       `socket = "dgram" is not known; use "stream", "datagram"`,
		path + "socket = \"datagrm\"\n":                                     `did you mean "datagram"?`,
		path + "mode = \"rw\"\n":                                            `mode = "rw"`,
		path + "mode = \"1777\"\n":                                          `mode = "1777"`,
		path + "framing = \"datagram\"\n":                                   `framing = "datagram" is not known; use "auto"`,
		path + "framing = \"length\"\nsocket = \"datagram\"\n":              `framing = "length" is not known; use "datagram", "newline"`,
		path + "tls.cert = \"x\"\n":                                         "tls",
		path + "tls.cert = \"x\"\ntls.key = \"y\"\nsocket = \"datagram\"\n": `tls is for connections`,
		path + "framing = \"heka\"\ncodec = \"syslog\"\n":                   `codec = "syslog" does not go with framing = "heka"`,
		path + "max_record = \"9MiB\"\n":                                    "max_record",
		path + "codec = \"sislog\"\n":                                       "codec",
	} {
		if _, err := New("unix", section(t, "unix", keys), Env{Name: "test"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %q: New returns %v, want %q", keys, err, want)
		}
	}
	in, err := New("unix", section(t, "unix", path), Env{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if claim := in.(*unixSocket).Claim(); claim != "path /run/x" {
		t.Errorf("claims %q", claim)
	}
}

// TestUnixBlocked stops an input whose queue stays full.
func TestUnixBlocked(t *testing.T) {
	t.Parallel()
	path, keys := socketKeys(t, "socket = \"datagram\"\n")
	entered := make(chan struct{}, 10)
	r := begin[*unixSocket](t, "unix", keys, func(ctx context.Context, _ *pack.Pack) (Receipt, error) {
		entered <- struct{}{}
		<-ctx.Done()
		return Receipt{}, ctx.Err()
	})
	conn := dialUnix(t, "unixgram", path)
	say(t, conn, "one")
	<-entered
	for range 5 {
		say(t, conn, "more")
	}
	r.stop()
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if n := r.counters.Dropped.Load(); n != 6 || !strings.Contains(r.text.String(), "could not be stored") {
		t.Errorf("%d datagrams counted as lost, want 6; log: %s", n, r.text)
	}
	if !gone(path) {
		t.Error("the file is left")
	}
}
