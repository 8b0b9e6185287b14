package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logmule/integration/rig"
)

// road is one way in which syslog travels, as the configurations of the three say it.
type road struct {
	name      string
	in, out   string // keys of logmule
	fromRsys  string // action of rsyslog that sends to %[1]s; %[2]s is the directory of the certificates
	toRsys    string // input of rsyslog on that port
	fromNG    string // destination of syslog-ng
	toNG      string // source of syslog-ng
	datagrams bool
}

func (r road) network() string {
	if r.datagrams {
		return "udp"
	}
	return "tcp"
}

const rsysSend = `action(type="omfwd" target="127.0.0.1" port="%[1]s" template="RSYSLOG_SyslogProtocol23Format" action.resumeRetryCount="-1" action.resumeInterval="1" `

var roads = []road{{
	name: "newline",
	in:   `type = "tcp"`, out: `type = "tcp"`,
	fromRsys: rsysSend + `protocol="tcp" TCP_Framing="traditional")`,
	toRsys:   `module(load="imtcp") input(type="imtcp" address="127.0.0.1" port="%[1]s")`,
	fromNG:   `network("127.0.0.1" port(%[1]s) transport("tcp") flags(syslog-protocol));`,
	toNG:     `network(ip(127.0.0.1) port(%[1]s) transport("tcp") flags(syslog-protocol));`,
}, {
	name: "octet-counted",
	in:   "type = \"tcp\"\nframing = \"octet-counted\"", out: "type = \"tcp\"\nframing = \"octet-counted\"",
	fromRsys: rsysSend + `protocol="tcp" TCP_Framing="octet-counted")`,
	toRsys:   `module(load="imtcp") input(type="imtcp" address="127.0.0.1" port="%[1]s")`,
	fromNG:   `syslog("127.0.0.1" port(%[1]s) transport("tcp"));`,
	toNG:     `syslog(ip(127.0.0.1) port(%[1]s) transport("tcp"));`,
}, {
	name: "udp",
	in:   `type = "udp"`, out: "type = \"udp\"\nrate_limit = \"500KB\"",
	fromRsys:  rsysSend + `protocol="udp")`,
	toRsys:    `module(load="imudp") input(type="imudp" address="127.0.0.1" port="%[1]s" rcvbufSize="4m")`,
	fromNG:    `syslog("127.0.0.1" port(%[1]s) transport("udp"));`,
	toNG:      `syslog(ip(127.0.0.1) port(%[1]s) transport("udp") so-rcvbuf(4194304));`,
	datagrams: true,
}, {
	name: "tls",
	in:   "type = \"tcp\"\nframing = \"auto\"\ntls = { cert = \"%[2]s/cert.pem\", key = \"%[2]s/key.pem\" }",
	out:  "type = \"tcp\"\nframing = \"octet-counted\"\ntls = { ca = \"%[2]s/ca.pem\", server_name = \"localhost\" }",
	fromRsys: `global(DefaultNetstreamDriverCAFile="%[2]s/ca.pem")
` + rsysSend + `protocol="tcp" TCP_Framing="octet-counted" StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="localhost")`,
	toRsys: `global(DefaultNetstreamDriver="gtls" DefaultNetstreamDriverCAFile="%[2]s/ca.pem" DefaultNetstreamDriverCertFile="%[2]s/cert.pem" DefaultNetstreamDriverKeyFile="%[2]s/key.pem")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon") input(type="imtcp" address="127.0.0.1" port="%[1]s")`,
	fromNG: `syslog("127.0.0.1" port(%[1]s) transport("tls") tls(ca-file("%[2]s/ca.pem") peer-verify(required-trusted)));`,
	toNG:   `syslog(ip(127.0.0.1) port(%[1]s) transport("tls") tls(cert-file("%[2]s/cert.pem") key-file("%[2]s/key.pem") peer-verify(optional-untrusted)));`,
}}

// What both daemons write of a record that they have received.
const (
	rsysFields = `template(name="fields" type="string" string="%%PRI%%|%%timereported:::date-rfc3339%%|%%HOSTNAME%%|%%APP-NAME%%|%%PROCID%%|%%MSGID%%|%%STRUCTURED-DATA%%|%%msg%%\n")
action(type="omfile" file="%s" template="fields" asyncWriting="off" flushOnTXEnd="on")`
	ngFields = `destination file { file("%s" template("$PRI|$S_ISODATE|$HOST|$PROGRAM|$PID|$MSGID|$SDATA|$MSG\n") frac-digits(6)); };`
)

// peerLine is one record, in RFC 5424 and as its receiver writes it.
func peerLine(n int, sent time.Time) (syslog, fields string) {
	priority := 8*(n%24) + n%8
	about := fmt.Sprintf("host-%d|app-%d|%d|ID%d|[ex@32473 n=\"%d\" text=\"a b\"]|record %d says \"%s\" \\ 100%%, and naïve …", n%3, n%7, 1000+n, n%11, n, n, strings.Repeat("x", n%300))
	parts := strings.SplitN(about, "|", 6)
	return fmt.Sprintf("<%d>1 %s %s", priority, sent.Format("2006-01-02T15:04:05.000000Z07:00"), strings.Join(parts, " ")),
		fmt.Sprintf("%d|%s", priority, about)
}

// Two syslog daemons of the field with logmule between them: everything arrives, in order, and says what it said.
func TestSyslogPeers(t *testing.T) {
	needPeers(t)
	for _, r := range roads {
		t.Run("rsyslog to syslog-ng, "+r.name, func(t *testing.T) {
			relay(t, r, func(dir, from, to string) {
				startPeer(t, rig.StartRsyslog, dir, "tcp", from, `module(load="imtcp") input(type="imtcp" address="127.0.0.1" port="`+port(from)+`")
`+fmt.Sprintf(r.fromRsys, port(to), dir))
			}, func(dir, from, file string) {
				startPeer(t, rig.StartSyslogNG, dir, r.network(), from, "source logmule { "+fmt.Sprintf(r.toNG, port(from), dir)+" };\n"+
					fmt.Sprintf(ngFields, file)+"\nlog { source(logmule); destination(file); flags(flow-control); };\n")
			})
		})
		t.Run("syslog-ng to rsyslog, "+r.name, func(t *testing.T) {
			relay(t, r, func(dir, from, to string) {
				startPeer(t, rig.StartSyslogNG, dir, "tcp", from, "source feed { network(ip(127.0.0.1) port("+port(from)+") transport(\"tcp\") flags(syslog-protocol)); };\n"+
					"destination logmule { "+fmt.Sprintf(r.fromNG, port(to), dir)+" };\nlog { source(feed); destination(logmule); flags(flow-control); };\n")
			}, func(dir, from, file string) {
				startPeer(t, rig.StartRsyslog, dir, r.network(), from, fmt.Sprintf(r.toRsys, port(from), dir)+"\n"+fmt.Sprintf(rsysFields, file))
			})
		})
	}
}

// needPeers skips a test that talks to syslog daemons. CI has them.
func needPeers(t *testing.T) {
	t.Helper()
	if os.Getenv(rig.PeersVariable) != "" {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal(rig.ErrNoPeers)
	}
	t.Skip(rig.ErrNoPeers)
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// startPeer starts a daemon and waits until it listens.
func startPeer(t *testing.T, start func(dir, configuration string) (*rig.Process, error), dir, network, listens, configuration string) {
	t.Helper()
	dir, err := os.MkdirTemp(dir, "peer-")
	must(t, err)
	p, err := start(dir, configuration)
	must(t, err)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("configuration:\n%s\noutput:\n%s", configuration, p.Output())
		}
	})
	must(t, rig.Wait(patience, "the peer has bound its port", func() bool { return taken(network, listens) }))
}

// taken tells whether somebody listens there.
func taken(network, address string) bool {
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	}
	c, err := net.Dial(network, address)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// relay sends records through one daemon, logmule and another daemon, and compares what that one writes.
func relay(t *testing.T, r road, sender func(dir, from, to string), receiver func(dir, from, file string)) {
	dir := t.TempDir()
	_, err := rig.NewCertificates(dir)
	must(t, err)
	feed, in, out, file := freeAddress(t), freeAddress(t), freeAddress(t), filepath.Join(dir, "received")
	receiver(dir, out, file)
	keys := func(text string) string {
		if strings.Contains(text, "%[2]s") {
			text = fmt.Sprintf(text, "", dir)
			text = strings.TrimSuffix(text, "%!(EXTRA string=)")
		}
		return text
	}
	l := newLab(t, fmt.Sprintf("[input.peer]\n%s\nlisten = %q\ncodec = \"syslog\"\n[output.peer]\n%s\naddress = %q\ncodec = \"syslog\"\n", keys(r.in), in, keys(r.out), out))
	l.start()
	sender(dir, feed, in)

	lines := 500
	if full && !r.datagrams {
		lines = 20000
	}
	sent := time.Now().Truncate(time.Microsecond)
	conn, err := net.Dial("tcp", feed)
	must(t, err)
	defer func() { _ = conn.Close() }()
	var want []string
	w := bufio.NewWriter(conn)
	for n := range lines {
		syslog, fields := peerLine(n, sent)
		want = append(want, fields)
		_, err := w.WriteString(syslog + "\n")
		must(t, err)
	}
	must(t, w.Flush())
	var got []string
	l.wait("everything has arrived", func() bool {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		got = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		return len(got) >= lines && strings.HasSuffix(string(text), "\n") // the last one may be on its way
	})
	compareFields(t, got, want, sent)
	l.stop()
	checkStored(t, l, want)
}

// compareFields compares what a receiver wrote: the time by itself, since its zone may be written in another way.
func compareFields(t *testing.T, got, want []string, sent time.Time) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d records arrived, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		priority, rest, _ := strings.Cut(got[i], "|")
		stamp, rest, _ := strings.Cut(rest, "|")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil || !at.Equal(sent) {
			t.Fatalf("record %d has the time %s, want %s", i, stamp, sent)
		}
		if line := priority + "|" + rest; line != want[i] {
			t.Fatalf("record %d arrived as\n%s\nwant\n%s", i, line, want[i])
		}
	}
}

// checkStored compares the attributes in the queue.
func checkStored(t *testing.T, l *lab, want []string) {
	t.Helper()
	out, err := exec.Command(binary(t), "cat", l.data, "--format", "json").Output()
	must(t, err)
	n := 0
	for line := range strings.Lines(string(out)) {
		var r struct {
			Logger, Hostname, Payload string
			Severity, PID             int
			Fields                    json.RawMessage
		}
		must(t, json.Unmarshal([]byte(line), &r))
		parts := strings.SplitN(want[n], "|", 7)
		if r.Hostname != parts[1] || r.Logger != parts[2] || fmt.Sprint(r.PID) != parts[3] || r.Payload != parts[6] || r.Severity != n%8 {
			t.Fatalf("record %d is stored as %s\nwant %s", n, line, want[n])
		}
		if !strings.Contains(string(r.Fields), "ID"+fmt.Sprint(n%11)) || !strings.Contains(string(r.Fields), "ex@32473.n") {
			t.Fatalf("record %d is stored with the fields %s, want %s and %s", n, r.Fields, parts[4], parts[5])
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d records are stored, want %d", n, len(want))
	}
}

// The tools that are on every machine: logger(1) by every road, curl with and without compression.
func TestLoggerAndCurl(t *testing.T) {
	dir := t.TempDir()
	newline, counted, datagrams, web, socket := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t), filepath.Join(dir, "log.sock")
	l := newLab(t, fmt.Sprintf(`
[input.newline]
type = "tcp"
listen = %q
framing = "auto"
codec = "syslog"
[input.counted]
type = "tcp"
listen = %q
framing = "octet-counted"
codec = "syslog"
[input.datagrams]
type = "udp"
listen = %q
codec = "syslog"
[input.socket]
type = "unix"
path = %q
socket = "datagram"
codec = "syslog"
[input.web]
type = "http"
listen = %q
`, newline, counted, datagrams, socket, web))
	l.start()
	tool := func(stdin string, args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	for _, protocol := range []string{"--rfc3164", "--rfc5424"} {
		for road, args := range map[string][]string{
			"newline":   {"--tcp", "--server", "127.0.0.1", "--port", port(newline)},
			"auto":      {"--tcp", "--octet-count", "--server", "127.0.0.1", "--port", port(newline)},
			"counted":   {"--tcp", "--octet-count", "--server", "127.0.0.1", "--port", port(counted)},
			"datagrams": {"--udp", "--server", "127.0.0.1", "--port", port(datagrams)},
			"socket":    {"--socket", socket, "--udp"},
		} {
			tool("", append(append([]string{"logger", protocol, "--id=4711", "--tag", "tagged", "--priority", "local3.warning"}, args...), "by "+road+" "+protocol)...)
		}
	}
	compressed := filepath.Join(dir, "body.gz")
	tool("by curl, compressed\n", "sh", "-c", "gzip > "+compressed)
	tool("by curl\n", "curl", "-sS", "--fail", "--data-binary", "@-", "http://"+web+"/any/path")
	tool("", "curl", "-sS", "--fail", "-H", "Content-Encoding: gzip", "--data-binary", "@"+compressed, "http://"+web+"/")
	tool("by curl, HTTP/2\n", "curl", "-sS", "--fail", "--http2-prior-knowledge", "--data-binary", "@-", "http://"+web+"/")

	const want = 13
	l.waitStored(want)
	l.stop()
	out, err := exec.Command(binary(t), "cat", l.data, "--format", "json").Output()
	must(t, err)
	n := 0
	for line := range strings.Lines(string(out)) {
		var r struct {
			Logger, Type, Payload string
			Severity, PID         int
		}
		must(t, json.Unmarshal([]byte(line), &r))
		n++
		if !strings.HasPrefix(r.Payload, "by ") {
			t.Errorf("the payload is not what was said: %s", line)
		}
		if r.Type != "web" && (r.Logger != "tagged" || r.Severity != 4 || r.PID != 4711) {
			t.Errorf("tag, priority and process are not what logger was told: %s", line)
		}
	}
	if n != want {
		t.Errorf("%d records, want %d:\n%s", n, want, out)
	}
}
