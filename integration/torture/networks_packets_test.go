package torture

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/integration/chaos"
	"logmule/integration/judge"
	"logmule/integration/netns"
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
	n := newNetwork(t)
	n.strange = map[string]string{"output unix": "a unix socket does not leave the machine"}
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
		}, end: func(v *victim) {
			f.Wait("the udp output hears that nobody listens", func() bool {
				return strings.Contains(f.Proc.Output(), "output=udp ") && strings.Contains(f.Proc.Output(), "connection refused")
			})
			f.udp = f.listen(t, v.store, f.udp.address)
		}},
	}
	for _, fault := range faults[:by(1, len(faults), len(faults))] {
		f.hurt(t, fault, by(200*time.Millisecond, 2*time.Second, 30*time.Second))
	}
	if level > smoke {
		f.stopWithout(t)
	}
}

// stopWithout stops the daemon while the network is gone, and starts it when that is back.
func (f *far) stopWithout(t *testing.T) {
	t.Helper()
	const name = "SIGTERM while packets are dropped, then a start with the network back"
	stop := f.source()
	f.flowing()
	must(t, f.space.Drop(netns.Both))
	time.Sleep(500 * time.Millisecond)
	stop()
	start := time.Now()
	f.Stop()
	took := time.Since(start)
	must(t, f.space.Drop(netns.None))
	for _, v := range f.victims {
		v.first.Store(0)
	}
	start = time.Now()
	f.Start()
	f.drained(lossy)
	caught := time.Since(start)
	for _, v := range f.victims {
		back := time.Duration(0)
		if at := v.first.Load(); at > 0 {
			back = time.Duration(at - start.UnixNano())
		}
		f.row(t, netFault{name: name, loses: lossy}, v, back, fmt.Sprintf("it stopped in %v with status 0; all of it had arrived %v after the start",
			took.Round(10*time.Millisecond), caught.Round(10*time.Millisecond)))
	}
}

// TestNetworksVanishedClients lets clients on another machine disappear without a word, and good ones there lose packets.
func TestNetworksVanishedClients(t *testing.T) {
	beyondSmoke(t)
	t.Parallel()
	need(t, netns.Need())
	space, err := netns.New()
	must(t, err)
	t.Cleanup(func() { must(t, space.Close()) })
	d := openDoors(t, space.Here.String())
	d.calmed(t, "the start")
	hold := by(0, 1500*time.Millisecond, 30*time.Second)
	d.vanish(t, space, hold)
	cut := func(way netns.Way) [2]func() error {
		return [2]func() error{func() error { return space.Drop(way) }, func() error { return space.Drop(netns.None) }}
	}
	faults := []struct {
		name string
		once [2]func() error
	}{
		{"packets are dropped both ways", cut(netns.Both)},
		{"packets to the client are dropped", cut(netns.To)},
		{"packets from the client are dropped", cut(netns.From)},
		{"the link is down", [2]func() error{func() error { return space.Link(false) }, func() error { return space.Link(true) }}},
	}
	for _, e := range d.entries {
		e.wait = 2 * time.Second
	}
	for _, f := range faults {
		d.cutOff(t, f.name, f.once, hold, space.Dial)
		d.rows.cannot(f.name, "input unix", "a unix socket does not leave the machine")
	}
}

// vanish connects clients that say half of something, and lets their machine forget them.
func (d *doors) vanish(t *testing.T, space *netns.Namespace, hold time.Duration) {
	t.Helper()
	const name = "clients vanish without a word, half of a record sent"
	const clients = 20
	d.steps++
	all := append(d.entries, d.healthy)
	stops := map[*entry]func() *judge.Source{}
	for _, e := range all {
		stops[e] = e.serve(t, fmt.Sprintf("f%d", d.steps), new(net.Dialer).DialContext) // of this machine
	}
	d.flow(all, "before "+name)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var gone sync.WaitGroup
	for _, e := range d.entries {
		for range clients {
			text := "bad half a rec"
			switch {
			case e.kind == "input udp":
				continue
			case e.answers():
				text = postHead + "Content-Length: 100\r\n\r\nbad half of a bo"
			}
			talk := chaos.Talk{Text: []byte(text), Then: chaos.Hang, Secure: e.secure, Dial: space.Dial}
			gone.Go(func() { _, _ = talk.Run(ctx, e.direct) }) // they are cut off
		}
	}
	held := func(e *entry) int { return d.Metric("logmule_input_connections", fmt.Sprintf("input=%q", e.name)) }
	for _, e := range d.entries {
		if e.kind != "input udp" {
			d.Wait(e.kind+" has the clients", func() bool { return held(e) > clients })
		}
	}
	must(t, space.Forget())
	gone.Wait()
	time.Sleep(hold)
	d.flow(all, "while there is nobody behind some connections")
	counts := map[*entry]int{}
	for _, e := range d.entries {
		counts[e] = held(e) - 1
	}
	must(t, space.Drop(netns.None))
	for e, stop := range stops {
		if source := stop(); !e.answers() && e.kind != "input udp" {
			source.Acknowledged(1, source.Sent())
		}
	}
	d.drained()
	for _, e := range d.entries {
		if e.kind == "input udp" {
			d.rows.cannot(name, e.kind, noConnection)
			continue
		}
		d.row(t, name, e, clients, 0, true, fmt.Sprintf("%d of %d connections are held, 4 KiB each, until keep-alive finds nobody there: within 90 s; good clients go on", counts[e], clients))
	}
	if level == long { // that is how long it takes
		d.calmed(t, name)
	}
}

// cutOff takes the good clients' machine off the network and puts it back.
func (d *doors) cutOff(t *testing.T, name string, once [2]func() error, hold time.Duration, dial func(context.Context, string, string) (net.Conn, error)) {
	t.Helper()
	d.steps++
	stops := map[*entry]func() *judge.Source{}
	for _, e := range d.entries {
		e.broken.Store(0)
		stops[e] = e.serve(t, fmt.Sprintf("f%d", d.steps), dial)
	}
	stops[d.healthy] = d.healthy.serve(t, fmt.Sprintf("f%d", d.steps), new(net.Dialer).DialContext)
	d.flow(append(d.entries, d.healthy), "before "+name)
	d.healthy.widest.Store(0)
	must(t, once[0]())
	time.Sleep(hold)
	d.flow([]*entry{d.healthy}, "while "+name)
	gap := time.Duration(d.healthy.widest.Load())
	for _, e := range d.entries {
		e.first.Store(0)
	}
	lifted := time.Now()
	must(t, once[1]())
	for _, e := range d.entries {
		d.Wait(e.kind+" brings records after "+name, func() bool { return e.first.Load() > 0 })
	}
	for _, stop := range stops {
		stop()
	}
	d.drained()
	for _, e := range d.entries {
		told := "its client lost what was on its way when it gave a connection up, as the manual says"
		switch {
		case e.answers():
			told = "its client knows which requests were not answered"
		case e.kind == "input udp":
			told = "datagrams that the network dropped are gone, as the manual says"
		}
		d.row(t, name, e, 1, max(time.Duration(e.first.Load()-lifted.UnixNano()), 1), false,
			fmt.Sprintf("%s; the healthy input never paused for more than %v", told, gap.Round(10*time.Millisecond)))
	}
}
