package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"logmule/forward/config"
	"logmule/forward/pack"
)

// Sizes of receiving datagrams, in bytes.
const (
	defaultMaxDatagram = 64 << 10
	maxDatagram        = 1<<16 - 1 // the longest that UDP has
	datagramBlock      = 1 << 20   // of what is received at once, more where max_record is so large
	// datagramHead is room in front of each datagram, for what stands before it in a records body: lengths and its peer.
	datagramHead = 96
	maxBatch     = 64 // datagrams of one call
)

var datagramFramings = []string{"datagram", "newline"}

// checkDatagrams judges the keys that all inputs of datagrams have.
func checkDatagrams(framing string, maxRecord config.Bytes, c codecKeys) error {
	if err := checkWord("framing", framing, datagramFramings); err != nil {
		return err
	}
	if err := checkMaxRecord(maxRecord); err != nil {
		return err
	}
	return c.check()
}

// datagrams turns what a socket receives into packs, in place. Everything that waits in the socket becomes one pack, as
// far as the block has room: lines if all is of one peer and no record holds an LF; records that name their peer if not.
//
//	block  | pack so far | head | datagram | free || head | datagram | free || ...
//	       0            body    \---------- stride ----------/
//
// While nothing comes it has no memory.
type datagrams struct {
	sender
	conn   socket
	raw    syscall.RawConn
	max    int  // longest record, in bytes
	split  bool // a datagram holds lines
	path   string
	stride int

	batch batch
	peers peers
	lines *lines // of a datagram with lines
	loan  loan
	block []byte
	body  int // the pack so far is block[:body]
	count int
}

// socket is a net.UDPConn or a net.UnixConn.
type socket interface {
	io.Closer
	syscall.Conn
	SetReadDeadline(t time.Time) error
	LocalAddr() net.Addr
}

// newDatagrams receives from conn. path is the peer where a socket does not tell one.
func newDatagrams(env *Env, conn socket, emit Emit, framing string, maxRecord int, cuts *sparing, path string) (*datagrams, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("receive datagrams for input %s: %w", env.Name, err)
	}
	d := &datagrams{sender: newSender(env, emit, cuts, path, env.attributes(path)), conn: conn, raw: raw, max: maxRecord, split: framing == "newline", path: path}
	d.pack.Passing = true
	d.stride = datagramHead + max(maxRecord, maxDatagram) + 1
	d.loan.from = env.Memory
	d.batch.init()
	if d.split {
		d.lines = newLines(env, nil, emit, maxRecord, cuts, path)
		d.lines.pack.Passing = true
	}
	return d, nil
}

// serve receives until the read deadline of the socket has passed, which is set when ctx ends. What it then cannot hand
// over while late lasts is counted as dropped: the socket will not be there any more to ask again.
func (d *datagrams) serve(ctx, late context.Context) error {
	err := d.run(late)
	if err == nil || ctx.Err() == nil {
		return err
	}
	d.block = make([]byte, d.stride)
	for range drainMost {
		if n, failed := d.receive(1); n == 0 || failed != nil {
			break
		}
		d.env.Counters.Dropped.Add(1)
	}
	d.block = nil
	d.batch.forget()
	d.env.Log.Warn("datagrams that were received could not be stored before the stop", "input", d.env.Name, "error", err)
	return nil
}

// run receives until the read deadline of the socket has passed or the socket is closed; then what waits in it is still
// received, but no longer than ctx lasts.
func (d *datagrams) run(ctx context.Context) error {
	for {
		err := d.wait()
		if err == nil {
			err = d.round(ctx)
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return d.drain(ctx)
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return err
		}
	}
}

// drain takes what the socket had when the end came. What comes meanwhile does not keep it from ending.
func (d *datagrams) drain(ctx context.Context) error {
	for end := d.batch.total + drainMost; d.batch.total < end && ctx.Err() == nil; {
		before := d.batch.total
		if err := d.round(ctx); err != nil || d.batch.total == before {
			return err
		}
	}
	return nil
}

// drainMost is how many datagrams are still received, about, when the end has come.
const drainMost = 1 << 20

// wait returns when a datagram is there.
func (d *datagrams) wait() error {
	var failed error
	err := d.raw.Read(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, 0)
		if err != nil && err != unix.EINTR {
			failed = err
			return true
		}
		return n > 0
	})
	return errors.Join(err, failed)
}

// round receives what is there and emits it.
func (d *datagrams) round(ctx context.Context) error {
	size := blockSize(max(datagramBlock, d.stride))
	if err := d.loan.resize(ctx, size, size, nil); err != nil {
		return fmt.Errorf("wait for memory (memory_limit) for datagrams: %w", err)
	}
	d.block = d.loan.bytes()
	defer func() {
		d.block = nil
		d.batch.forget()
		d.loan.end()
	}()
	d.pack.Shared.Timestamp = time.Now().UnixNano()
	for {
		slots := min(maxBatch, (len(d.block)-d.body)/d.stride)
		if slots == 0 {
			break
		}
		n, err := d.receive(slots)
		if err != nil {
			return fmt.Errorf("receive datagrams for input %s: %w", d.env.Name, err)
		}
		if err := d.take(ctx, n); err != nil {
			return err
		}
		if n < slots {
			break
		}
	}
	return d.flush(ctx)
}

// receive is one call, which does not wait.
func (d *datagrams) receive(slots int) (n int, err error) {
	failed := d.raw.Control(func(fd uintptr) {
		n, err = d.batch.receive(int(fd), d.block[d.body:d.body+slots*d.stride], d.stride)
	})
	return n, errors.Join(failed, err)
}

// take adds n datagrams to the pack.
func (d *datagrams) take(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	base := d.body
	slot := func(i int) []byte {
		from := base + i*d.stride + datagramHead
		return d.block[from : from+d.batch.size(i)]
	}
	form := pack.Lines
	if !d.split {
		form = d.form(n, slot)
	}
	if form != d.pack.Form && d.count > 0 {
		if err := d.flush(ctx); err != nil {
			return d.dropped(n, err)
		}
	}
	d.pack.Form = form
	for i := range n {
		peer := d.peer(i)
		if d.count == 0 {
			d.speaks(peer)
		}
		if err := d.add(ctx, peer, slot(i), d.batch.cut(i)); err != nil {
			return d.dropped(n-i, err)
		}
	}
	return nil
}

// dropped counts datagrams that were received and cannot be handed over for that reason.
func (d *datagrams) dropped(n int, err error) error {
	d.env.Counters.Dropped.Add(uint64(n))
	return err
}

// form is that of a pack with these datagrams, and with what is in it already.
func (d *datagrams) form(n int, slot func(int) []byte) pack.Form {
	if d.count > 0 && d.pack.Form == pack.Records {
		return pack.Records
	}
	first := d.pack.Shared.Logger
	if d.count == 0 {
		first = d.peer(0)
	}
	for i := range n {
		own, _ := bytes.CutSuffix(slot(i), newline)
		if d.peer(i) != first || bytes.IndexByte(own, '\n') >= 0 {
			return pack.Records
		}
	}
	return pack.Lines
}

var newline = []byte{'\n'}

// add adds one datagram, which stands behind the pack with datagramHead of room before it. After an error it is not in the
// pack.
func (d *datagrams) add(ctx context.Context, peer string, own []byte, cut bool) error {
	if d.split {
		return d.addLines(ctx, peer, own, cut)
	}
	own, _ = bytes.CutSuffix(own, newline)
	if len(own) > d.max {
		return d.addCut(ctx, peer, own[:d.max])
	}
	d.put(peer, own)
	return nil
}

func (d *datagrams) put(peer string, own []byte) {
	if d.pack.Form == pack.Lines {
		d.body += copy(d.block[d.body:], own)
		d.block[d.body] = '\n'
		d.body++
	} else {
		logger := peer
		if peer == d.pack.Shared.Logger {
			logger = ""
		}
		d.body = len(append(pack.AppendHead(d.block[:d.body], logger, len(own)), own...))
	}
	d.count++
}

// addCut emits the head of a record by itself, marked.
func (d *datagrams) addCut(ctx context.Context, peer string, head []byte) error {
	if err := d.flush(ctx); err != nil {
		return err
	}
	d.speaks(peer)
	form := d.pack.Form
	defer func() { d.pack.Form = form }()
	d.pack.Form = pack.Records
	d.put(peer, head)
	body := d.block[:d.body]
	d.body, d.count = 0, 0
	return d.sendCut(ctx, body, body[len(body)-len(head):], tooLong)
}

// addLines adds a datagram that holds lines, the last of them with or without its LF.
func (d *datagrams) addLines(ctx context.Context, peer string, own []byte, cut bool) error {
	if peer != d.pack.Shared.Logger || cut {
		if err := d.flush(ctx); err != nil {
			return err
		}
		d.speaks(peer)
	}
	if len(own) == 0 {
		return nil
	}
	from := d.body
	d.body += copy(d.block[d.body:], own)
	if cut {
		whole := from + bytes.LastIndexByte(d.block[from:d.body], '\n') + 1
		rest := d.block[whole:d.body]
		d.body = whole
		if err := d.flush(ctx); err != nil {
			return err
		}
		return d.lines.cut(ctx, append(rest[:min(len(rest), d.max)], '\n'), tooLong)
	}
	if d.block[d.body-1] != '\n' {
		d.block[d.body] = '\n'
		d.body++
	}
	d.count++ // of datagrams: lines are counted when they are sent
	return nil
}

// flush emits the pack so far.
func (d *datagrams) flush(ctx context.Context) error {
	body, count := d.block[:d.body], d.count
	d.body, d.count = 0, 0
	var err error
	if d.split {
		d.lines.pack.Shared.Timestamp = d.pack.Shared.Timestamp
		err = d.lines.records(ctx, body)
	} else {
		err = d.send(ctx, body, count)
	}
	if err != nil {
		return d.dropped(count, err)
	}
	return nil
}

// speaks makes peer the one whose records the next pack holds.
func (d *datagrams) speaks(peer string) {
	d.sender.peer, d.pack.Shared.Logger = peer, peer
	if d.split {
		d.lines.peer, d.lines.pack.Shared.Logger = peer, peer
	}
}

// peer is who sent a datagram.
func (d *datagrams) peer(i int) string {
	if d.path != "" {
		return d.path
	}
	return d.peers.name(d.batch.from(i))
}

// peers are the names of senders by their addresses, as the kernel writes them.
type peers struct {
	names map[string]string
}

const maxPeers = 1024

func (p *peers) name(address []byte) string {
	if name, ok := p.names[string(address)]; ok {
		return name
	}
	if p.names == nil || len(p.names) >= maxPeers {
		p.names = make(map[string]string)
	}
	name := addressText(address)
	p.names[string(address)] = name
	return name
}
