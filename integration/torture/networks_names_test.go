package torture

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/integration/chaos"
	"logmule/integration/rig"
)

// TestNetworksNames gives outputs a name that nobody knows, and a right one with SIGHUP.
func TestNetworksNames(t *testing.T) {
	beyondSmoke(t)
	t.Parallel()
	n := newNetwork(t)
	text := fmt.Sprintf("[input.feed]\ntype = \"http\"\nlisten = %q\n", n.feed)
	add := func(kind, output, keys string, good chaos.Behaviour) *victim {
		v := n.newVictim(kind, output, false)
		var err error
		v.peer, err = chaos.StartPeer("127.0.0.1:0", good, v.store)
		must(t, err)
		t.Cleanup(v.peer.Close)
		_, port, err := net.SplitHostPort(v.peer.Address())
		must(t, err)
		text += fmt.Sprintf("[output.%s]\ntimeout = \"1s\"\n", output) + strings.ReplaceAll(keys, "PORT", port)
		return v
	}
	n.healthy = add("the healthy output", "healthy", "type = \"http\"\nurl = \"http://127.0.0.1:PORT/\"\n", chaos.Posts)
	n.victims = nil
	add("output http", "http", "type = \"http\"\nurl = \"http://nobody.invalid:PORT/\"\n", chaos.Posts)
	add("output tcp", "tcp", "type = \"tcp\"\naddress = \"nobody.invalid:PORT\"\n", chaos.Lines)
	v := n.newVictim("output udp", "udp", false)
	sink, err := rig.NewUDPSink("127.0.0.1:0", func(datagram []byte) { v.store.Take("", append(datagram[:len(datagram):len(datagram)], '\n')) })
	must(t, err)
	t.Cleanup(sink.Close)
	_, port, err := net.SplitHostPort(sink.Address)
	must(t, err)
	text += fmt.Sprintf("[output.udp]\ntype = \"udp\"\naddress = \"nobody.invalid:%s\"\n", port)
	n.Configure(text)
	n.Start()
	stop := n.source()
	n.Wait("the healthy output delivers", func() bool { return n.healthy.latest.Load() > 0 })
	for _, v := range n.victims {
		n.Wait(v.kind+" says why it fails", func() bool {
			return strings.Contains(n.Proc.Output(), "output="+v.output+" ") && strings.Contains(n.Proc.Output(), "nobody.invalid")
		})
	}
	time.Sleep(by(0, time.Second, 30*time.Second))
	n.Wait("the healthy output has everything", func() bool { return n.healthy.dest.Owes() <= underWay })
	n.Configure(strings.ReplaceAll(text, "nobody.invalid", "localhost"))
	lifted := time.Now()
	must(t, n.Proc.Signal(syscall.SIGHUP))
	for _, v := range n.victims {
		n.Wait(v.kind+" delivers under a name that is known", func() bool { return v.first.Load() > 0 })
	}
	stop()
	n.drained(nil)
	for _, v := range n.victims {
		n.row(t, netFault{name: "the name does not resolve, until SIGHUP brings another"}, v, time.Duration(v.first.Load()-lifted.UnixNano()), "nothing is lost; the healthy output goes on")
	}
	n.settle(t)
	n.rows.cannot("the name does not resolve, until SIGHUP brings another", "output unix", "a path is no name")
}
