package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"logmule/integration/rig"
)

// A reload whose files cannot be used, or whose address another process holds, is refused before anything is touched; an
// input that moves to all addresses of the port that it listens on is not in its own way.
func TestReloadNeedsWhatItNames(t *testing.T) {
	certificates, err := rig.NewCertificates(t.TempDir())
	must(t, err)
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	must(t, os.WriteFile(garbage, []byte("garbage"), 0o600))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	heard, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = heard.Close() })

	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	text := func(input, others string) string {
		return fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n%s\n[output.out]\ntype = \"file\"\npath = \"/dev/null\"\n%s", address, input, others)
	}
	l := newLab(t, text("", ""))
	l.start()
	failed := 0
	for want, wrong := range map[string]string{
		":8: tls.cert cannot be read: open /nope.pem":         text("tls.cert = \"/nope.pem\"\ntls.key = \"/nope.key\"", ""),
		":9: tls.key cannot be read: open /nope.key":          text(fmt.Sprintf("tls.cert = %q\ntls.key = \"/nope.key\"", certificates.Cert), ""),
		":8: tls.cert and tls.key cannot be used":             text(fmt.Sprintf("tls.cert = %q\ntls.key = %q", certificates.Cert, garbage), ""),
		":15: tls.ca cannot be used":                          text("", fmt.Sprintf("[output.far]\ntype = \"tcp\"\naddress = \"127.0.0.1:1\"\ntls.ca = %q\n", garbage)),
		":14: listen on " + taken.Addr().String() + " for":    text("", fmt.Sprintf("[input.new]\ntype = \"tcp\"\nlisten = %q\n", taken.Addr())),
		":14: listen on " + heard.LocalAddr().String() + " f": text("", fmt.Sprintf("[input.new]\ntype = \"udp\"\nlisten = %q\n", heard.LocalAddr())),
	} {
		l.configure(wrong)
		must(t, l.Proc.Signal(syscall.SIGHUP))
		failed++
		l.wait("the reload is refused", func() bool { return l.metric("logmule_reloads_total", `result="failed"`) == failed })
		if out := l.Proc.Output(); !strings.Contains(out, l.config+want) {
			t.Errorf("the log does not say %q", want)
		}
		if code := l.status("/readyz"); code != 200 {
			t.Errorf("%s: the page readyz says %d", want, code)
		}
	}
	if out := l.Proc.Output(); strings.Count(out, "input listens") != 1 {
		t.Error("the input was touched")
	}
	l.configure(strings.Replace(text("insecure = true", ""), address, "0.0.0.0:"+port, 1))
	must(t, l.Proc.Signal(syscall.SIGHUP))
	l.wait("the reload is done", func() bool { return l.metric("logmule_reloads_total", `result="ok"`) == 1 })
	l.stop()
}
