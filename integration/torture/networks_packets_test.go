package torture

import (
	"fmt"
	"net"
	"testing"
	"time"

	"logmule/integration/chaos"
	"logmule/integration/netns"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// far is a network whose destinations are on another machine.
type far struct {
	*network
	space *netns.Namespace
	udp   *udpPeer
}

func distant(t *testing.T) *far {
	t.Helper()
	need(t, netns.Need())
	space, err := netns.New()
	must(t, err)
	t.Cleanup(func() { must(t, space.Close()) })
	certificates, err := rig.NewCertificates(t.TempDir())
	must(t, err)
	n := &network{Lab: newLab(t, ""), feed: rig.OwnAddress(t)}
	f := &far{network: n, space: space}
	text := fmt.Sprintf("[input.feed]\ntype = \"http\"\nlisten = %q\n", n.feed)
	stream := func(v *victim, good chaos.Behaviour, keys string) {
		if v.secure {
			good = chaos.Secured(serverTLS(t, certificates), good)
			keys += fmt.Sprintf("tls.ca = %q\ntls.server_name = \"localhost\"\n", certificates.CA)
		}
		listen := space.Listen
		if v == n.healthy {
			listen = net.Listen
		}
		host := map[bool]string{true: "127.0.0.1", false: space.There.String()}[v == n.healthy]
		l, err := listen("tcp", net.JoinHostPort(host, "0"))
		must(t, err)
		v.peer = chaos.ServePeer(l, good, v.store)
		t.Cleanup(v.peer.Close)
		text += fmt.Sprintf("[output.%s]\ntimeout = \"1s\"\n", v.output) + fmt.Sprintf(keys, v.peer.Address())
	}
	n.healthy = n.newVictim("the healthy output", "healthy", false)
	n.victims = nil
	stream(n.healthy, chaos.Posts, "type = \"http\"\nurl = \"http://%s/\"\n")
	stream(n.newVictim("output http", "http", false), chaos.Posts, "type = \"http\"\nurl = \"http://%s/\"\n")
	stream(n.newVictim("output http, TLS", "https", true), chaos.Posts, "type = \"http\"\nurl = \"https://%s/\"\n")
	stream(n.newVictim("output tcp", "tcp", false), chaos.Lines, "type = \"tcp\"\naddress = %q\n")
	stream(n.newVictim("output tcp, TLS", "tcptls", true), chaos.Lines, "type = \"tcp\"\naddress = %q\n")
	v := n.newVictim("output udp", "udp", false)
	f.udp = f.listen(t, v.store, net.JoinHostPort(space.There.String(), "0"))
	text += fmt.Sprintf("[output.udp]\ntype = \"udp\"\naddress = %q\n", f.udp.address)
	n.Configure(text)
	n.open()
	return f
}

// udpPeer is a destination for the udp output on the other machine.
type udpPeer struct {
	address string
	conn    net.PacketConn
	done    chan struct{}
}

func (f *far) listen(t *testing.T, store *chaos.Store, address string) *udpPeer {
	t.Helper()
	c, err := f.space.ListenPacket("udp", address)
	must(t, err)
	d := &udpPeer{address: c.LocalAddr().String(), conn: c, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		b := make([]byte, 64<<10)
		for {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			store.Take("", append(b[:n:n], '\n'))
		}
	}()
	t.Cleanup(d.close)
	return d
}

func (d *udpPeer) close() {
	_ = d.conn.Close()
	<-d.done
}

// lossy says what is lost of datagrams.
func lossy(v *victim) string {
	if v.output == "udp" {
		return "datagrams that the network dropped are gone, as the manual says"
	}
	return ""
}

// TestNetworksPackets drops packets on the way to another machine, pulls the cable out, and lets that machine crash.
func TestNetworksPackets(t *testing.T) {
	t.Parallel()
	f := distant(t)
	drop := func(name string, way netns.Way) netFault {
		return netFault{name: name, loses: lossy, once: [2]func() error{
			func() error { return f.space.Drop(way) }, func() error { return f.space.Drop(netns.None) }}}
	}
	udp := f.victims[len(f.victims)-1]
	faults := []netFault{
		drop("packets are dropped both ways", netns.Both),
		drop("packets to the peer are dropped", netns.To),
		drop("packets from the peer are dropped", netns.From),
		{name: "the link is down", loses: lossy, once: [2]func() error{
			func() error { return f.space.Link(false) }, func() error { return f.space.Link(true) }}},
		{name: "the peer's machine forgets its connections", loses: lossy, once: [2]func() error{
			f.space.Forget, func() error { return f.space.Drop(netns.None) }}},
		{name: "nobody listens at the peer's port", loses: lossy, begin: func(v *victim) string {
			if v != udp {
				return "it is in the table as connections refused"
			}
			f.udp.close()
			return ""
		}, end: func(v *victim) { f.udp = f.listen(t, v.store, f.udp.address) }},
	}
	for i, fault := range faults[:by(1, len(faults), len(faults))] {
		f.hurt(t, fault, by(200*time.Millisecond, 2500*time.Millisecond, 30*time.Second))
		if i < 5 {
			reliability.Add(t, reliability.Row{Part: reliability.Networks, Fault: fault.name, Kind: "output unix",
				Outcome: "cannot happen: a unix socket does not leave the machine"})
		}
	}
}
