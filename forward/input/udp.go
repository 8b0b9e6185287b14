package input

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"logmule/forward/codec"
	"logmule/forward/config"
)

const defaultReceiveBuffer = 4 << 20

// udp takes datagrams. Nothing tells their senders what became of them: what the kernel cannot hold while the input waits
// for the queue is lost, and counted.
type udp struct {
	env     Env
	listen  string
	framing string
	max     int
	buffer  int
	codec   string

	cuts sparing
}

func newUDP(decode func(into any) error, env Env) (Input, error) {
	keys := struct {
		Listen        string       `toml:"listen" doc:"HOST:PORT where datagrams are taken"`
		Insecure      bool         `toml:"insecure" doc:"true: listen beyond loopback, where anybody can write under any address"`
		Framing       string       `toml:"framing" doc:"what a record is: \"datagram\": each datagram, without an LF at its end; \"newline\": each line of one"`
		MaxRecord     config.Bytes `toml:"max_record" doc:"longest record in bytes; of a longer one the head is kept, marked with the field truncated"`
		ReceiveBuffer config.Bytes `toml:"receive_buffer" doc:"bytes that the kernel holds while the input waits for the queue; 0B: as many as it does by itself"`
		codecKeys
	}{Framing: "datagram", MaxRecord: defaultMaxDatagram, ReceiveBuffer: defaultReceiveBuffer, codecKeys: codecKeys{codec.Plain}}
	if err := decode(&keys); err != nil {
		return nil, err
	}
	if err := judgeListen(keys.Listen, keys.Insecure, "use 127.0.0.1 or ::1, or add insecure = true"); err != nil {
		return nil, err
	}
	if err := checkDatagrams(keys.Framing, keys.MaxRecord, keys.codecKeys); err != nil {
		return nil, err
	}
	if err := checkReceiveBuffer(keys.ReceiveBuffer); err != nil {
		return nil, err
	}
	return &udp{env: env, listen: keys.Listen, framing: keys.Framing, max: int(keys.MaxRecord), buffer: int(keys.ReceiveBuffer), codec: keys.Codec}, nil
}

// checkReceiveBuffer judges the key receive_buffer.
func checkReceiveBuffer(n config.Bytes) error {
	if n < 0 || n > 1<<30 {
		return fmt.Errorf(`receive_buffer = "%s" is out of range; use a size from "0B", for what the system has as its own, to "1GiB"`, n)
	}
	return nil
}

// Run receives until ctx ends, and then what the socket has still got.
func (u *udp) Run(ctx context.Context, emit Emit) error {
	emit, err := u.env.decoding(u.codec, emit)
	if err != nil {
		return err
	}
	conn, err := u.env.listenPacket(ctx, u.listen)
	if err != nil {
		return err
	}
	defer conn.Close()
	d, err := newDatagrams(&u.env, conn, emit, u.framing, u.max, &u.cuts, "")
	if err != nil {
		return err
	}
	if err := u.enlarge(d); err != nil {
		return err
	}
	late, cancel := withGrace(ctx)
	defer cancel()
	watched, done := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer done()
	lost := &drops{env: &u.env, socket: d}
	watch.Go(func() { lost.run(watched) })
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	u.env.Ready(conn.LocalAddr().String())
	return d.serve(ctx, late)
}

// enlarge asks the kernel for receive_buffer.
func (u *udp) enlarge(d *datagrams) error {
	if u.buffer == 0 {
		return nil
	}
	var got int
	var err error
	failed := d.raw.Control(func(fd uintptr) { got, err = setReceiveBuffer(int(fd), u.buffer) })
	if failed != nil {
		return fmt.Errorf("set the receive buffer of input %s: %w", u.env.Name, failed)
	}
	if err != nil || got < u.buffer {
		u.env.Log.Warn("the kernel gives less than receive_buffer, so datagrams are lost sooner; raise net.core.rmem_max", "input", u.env.Name,
			"receive_buffer", config.Bytes(u.buffer).String(), "got", config.Bytes(got).String(), "error", err)
	}
	return nil
}

// Claim is the address, which no other may receive at; empty where the system chooses the port.
func (u *udp) Claim() string {
	if _, port, err := net.SplitHostPort(u.listen); err != nil || port == "0" {
		return ""
	}
	return "udp address " + u.listen
}

// ProbeAddress tries whether the address is free.
func (u *udp) ProbeAddress() error {
	conn, err := u.env.listenPacket(context.Background(), u.listen)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Times of looking for lost datagrams.
const (
	dropsEvery     = time.Second
	dropsWarnEvery = 30 * time.Second
)

// drops counts what the kernel drops of the datagrams for a socket.
type drops struct {
	env    *Env
	socket *datagrams
	seen   uint32 // the kernel's number when it was read last
	untold uint64 // dropped since the last line in the log
	told   time.Time
}

// run looks until ctx ends, and then once more.
func (w *drops) run(ctx context.Context) {
	tick := time.NewTicker(dropsEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			w.look(now)
		case <-ctx.Done():
			w.look(time.Now())
			return
		}
	}
}

func (w *drops) look(now time.Time) {
	var number uint32
	var ok bool
	if err := w.socket.raw.Control(func(fd uintptr) { number, ok = droppedDatagrams(int(fd)) }); err != nil || !ok {
		return
	}
	fresh := uint64(number - w.seen) // the kernel's number goes round
	w.seen = number
	w.untold += fresh
	w.env.Counters.Dropped.Add(fresh)
	if w.untold > 0 && now.Sub(w.told) >= dropsWarnEvery {
		w.env.Log.Warn("the kernel dropped datagrams that were not read in time; the queue is slow or full, or receive_buffer is too small",
			"input", w.env.Name, "dropped", w.untold)
		w.untold, w.told = 0, now
	}
}
