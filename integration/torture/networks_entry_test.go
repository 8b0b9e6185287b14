package torture

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logmule/integration/chaos"
	"logmule/integration/judge"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// doors is a daemon with several inputs that are hurt, and one that is not. Each has an output of its own, so that it can
// be judged by itself.
type doors struct {
	*rig.Lab
	healthy *entry
	entries []*entry
	rows    *book
	steps   int

	goroutines int       // when all is well
	logged     int       // bytes of log that were looked at
	calm       time.Time // when they were
}

// entry is one input, the good client that it has to go on serving, and what came of its records.
type entry struct {
	kind   string // as the rows name it
	name   string // in the configuration
	direct string // where it listens
	secure *tls.Config
	proxy  *chaos.Proxy // before it, for the good client; nil: none

	judge *judge.Judge
	dest  *judge.Destination
	wait  time.Duration // of the good client, for an answer or until a write is done; set between steps

	first   atomic.Int64 // when the first record came since it was last set to 0, in nanoseconds
	latest  atomic.Int64
	widest  atomic.Int64 // time between two records since it was last set to 0
	foreign atomic.Int64 // records of bad clients that came
	broken  atomic.Int64 // connections of the good client, or requests, that failed
	before  judge.Finding

	connections uint64 // through the proxy by then
}

// torn says that the end of a broken connection may look like an orderly one: nothing in the protocol says which it is.
func torn(e *entry) bool { return !e.answers() && e.secure == nil }

// badWord is how everything begins that a bad client sends.
const badWord = "bad "

// openDoors starts a daemon with every input that listens; host is where those do that others can reach.
func openDoors(t *testing.T, host string) *doors {
	t.Helper()
	certificates, err := rig.NewCertificates(t.TempDir())
	must(t, err)
	authority, err := os.ReadFile(certificates.CA)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	d := &doors{Lab: newLab(t, ""), rows: openBook(t), calm: time.Now()}
	var text strings.Builder
	add := func(kind, name, keys string, secure bool) *entry {
		e := &entry{kind: kind, name: name, judge: judge.New(d.Judge.Seed()), wait: rig.Patience / 2}
		e.dest = e.judge.Destination(name)
		e.direct = rig.Address(t)
		if host != "" {
			_, port, err := net.SplitHostPort(e.direct)
			must(t, err)
			e.direct = net.JoinHostPort(host, port)
		}
		if strings.HasPrefix(kind, "input unix") {
			e.direct = filepath.Join(t.TempDir(), "in.sock")
		}
		if secure {
			e.secure = &tls.Config{RootCAs: roots, ServerName: "localhost"}
			keys += fmt.Sprintf("tls.cert = %q\ntls.key = %q\n", certificates.Cert, certificates.Key)
		}
		peer, err := chaos.StartPeer("127.0.0.1:0", chaos.Posts, chaos.NewStore(e.arrived))
		must(t, err)
		t.Cleanup(peer.Close)
		fmt.Fprintf(&text, "[input.%s]\n%s[output.%s]\ntype = \"http\"\nurl = \"http://%s/\"\nfrom = [%q]\n",
			name, strings.ReplaceAll(keys, "AT", e.direct), name, peer.Address(), name)
		d.entries = append(d.entries, e)
		return e
	}
	insecure := map[bool]string{true: "insecure = true\n"}[host != ""]
	d.healthy = add("the healthy input", "healthy", "type = \"http\"\nlisten = \"AT\"\n"+insecure, false)
	d.entries = nil
	add("input http", "http", "type = \"http\"\nlisten = \"AT\"\n"+insecure, false)
	add("input http, TLS", "https", "type = \"http\"\nlisten = \"AT\"\n", true)
	add("input tcp", "tcp", "type = \"tcp\"\nlisten = \"AT\"\n"+insecure, false)
	add("input tcp, TLS", "tcptls", "type = \"tcp\"\nlisten = \"AT\"\n", true)
	if host == "" {
		add("input unix", "unix", "type = \"unix\"\npath = \"AT\"\n", false)
	} else {
		add("input udp", "udp", "type = \"udp\"\nlisten = \"AT\"\n"+insecure, false)
	}
	d.Configure(text.String())
	d.Start()
	return d
}

// arrived notes a record; those of bad clients only by their number.
func (e *entry) arrived(record []byte) {
	if bytes.HasPrefix(record, []byte(badWord)) {
		e.foreign.Add(1)
		return
	}
	now := time.Now().UnixNano()
	if last := e.latest.Swap(now); last > 0 && now-last > e.widest.Load() {
		e.widest.Store(now - last)
	}
	e.first.CompareAndSwap(0, now)
	e.dest.Arrived(record)
}

// answers says whether clients are told what became of their records.
func (e *entry) answers() bool {
	return strings.HasPrefix(e.kind, "input http") || e.kind == "the healthy input"
}

// address is where the good client goes.
func (e *entry) address() string {
	if e.proxy != nil {
		return e.proxy.Address()
	}
	return e.direct
}

// serve runs the good client until the function that it returns is called: a few records every 20 ms, each sent once, on a
// new connection when one breaks. That function gives the source of the first connection.
func (e *entry) serve(t *testing.T, name string, dial func(context.Context, string, string) (net.Conn, error)) (stop func() *judge.Source) {
	source := e.judge.Source(name)
	again := func() *judge.Source { // for each connection: order is kept on one of them
		name += "+"
		return e.judge.Source(name)
	}
	network := "tcp"
	if strings.HasPrefix(e.kind, "input unix") {
		network = "unix"
	} else if e.kind == "input udp" {
		network = "udp"
	}
	connect := func(ctx context.Context) (net.Conn, error) { return dial(ctx, network, e.address()) }
	end := rig.Background(t, func(ctx context.Context) error {
		if e.answers() {
			return e.post(ctx, source, again, connect)
		}
		return e.write(ctx, source, again, connect)
	})
	return func() *judge.Source {
		rig.Must(t, end())
		return source
	}
}

const (
	goodBatch = 5
	goodEvery = 20 * time.Millisecond
)

func (e *entry) chunk(source *judge.Source) (text []byte, first, last uint64) {
	for range goodBatch {
		text, last = source.Append(text, 100)
		text = append(text, '\n')
	}
	return text, last - goodBatch + 1, last
}

func (e *entry) post(ctx context.Context, source *judge.Source, again func() *judge.Source, connect func(context.Context) (net.Conn, error)) error {
	transport := &http.Transport{TLSClientConfig: e.secure, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx) }}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: e.wait}
	url := "http://logs/"
	if e.secure != nil {
		url = "https://localhost/"
	}
	for tick := time.Tick(goodEvery); ctx.Err() == nil; <-tick {
		text, first, last := e.chunk(source)
		status, err := rig.Post(context.WithoutCancel(ctx), client, url, text) // a request once begun has its answer
		switch {
		case err == nil && status == http.StatusOK:
			source.Acknowledged(first, last)
		case err == nil, errors.Is(err, syscall.ECONNREFUSED):
			source.Refused(first, last)
			e.broken.Add(1)
		default:
			e.broken.Add(1)
			source = again()
		}
	}
	return nil
}

func (e *entry) write(ctx context.Context, source *judge.Source, again func() *judge.Source, connect func(context.Context) (net.Conn, error)) error {
	var c net.Conn
	for tick := time.Tick(goodEvery); ctx.Err() == nil; <-tick {
		if c == nil {
			within, cancel := context.WithTimeout(ctx, e.wait)
			raw, err := connect(within)
			cancel()
			if err != nil {
				e.broken.Add(1)
				continue
			}
			if c = raw; e.secure != nil {
				c = tls.Client(raw, e.secure)
			}
		}
		text, _, _ := e.chunk(source)
		_ = c.SetDeadline(time.Now().Add(e.wait)) // the write tells
		var err error
		if e.kind == "input udp" {
			for line := range bytes.Lines(text) {
				_, failed := c.Write(line)
				err = errors.Join(err, failed)
			}
		} else {
			_, err = c.Write(text)
		}
		if err != nil {
			e.broken.Add(1)
			_ = c.Close()
			c, source = nil, again()
		}
	}
	if c != nil && c.Close() != nil { // it broke just now
		e.broken.Add(1)
	}
	return nil
}

// flow waits until every input has brought something from now on.
func (d *doors) flow(entries []*entry, what string) {
	d.T.Helper()
	for _, e := range entries {
		e.first.Store(0)
	}
	for _, e := range entries {
		d.Wait(e.kind+" brings records "+what, func() bool { return e.first.Load() > 0 })
	}
}

// drained waits until everything that was acknowledged, or is in the queue, has arrived.
func (d *doors) drained() {
	d.T.Helper()
	for _, e := range append(d.entries, d.healthy) {
		d.Wait(e.kind+": everything acknowledged has arrived", func() bool { return e.dest.Owes() == 0 })
		d.Wait(e.kind+" rests", func() bool {
			return time.Now().UnixNano()-e.latest.Load() > int64(150*time.Millisecond) &&
				d.Metric("logmule_output_backlog_records", fmt.Sprintf("output=%q", e.name)) == 0
		})
	}
}

// row judges what came of one input and writes it down. whole says that all records of the good client have to have come,
// whether it was told so or not.
func (d *doors) row(t *testing.T, fault string, e *entry, tried uint64, back time.Duration, whole bool, told string) {
	t.Helper()
	connections := uint64(0)
	if e.proxy != nil {
		_, total := e.proxy.Connections()
		connections, e.connections = uint64(total)-e.connections, uint64(total)
	}
	now := finding(e.judge.Verdict(), e.name)
	r := reliability.Row{Fault: fault, Kind: e.kind, Tried: tried, Back: back, Outcome: told,
		Lost:     now.Lost.Count - e.before.Lost.Count,
		Altered:  now.Altered.Count - e.before.Altered.Count,
		Invented: now.Invented.Count - e.before.Invented.Count + now.Refused.Count - e.before.Refused.Count,
		Doubled:  now.Doubled.Count - e.before.Doubled.Count,
	}
	missing := int64(now.Sent-now.Arrived) - int64(e.before.Sent-e.before.Arrived)
	switch count := uint64(max(missing, 0)); { // less than nothing: some of the step before came late, from a connection given up by then
	case whole:
		r.Lost = count
	case !e.answers():
		r.Declared = count
	}
	if r.Altered > 0 && torn(e) && r.Altered <= connections {
		r.Outcome = fmt.Sprintf("%d records were torn by an end that looked orderly, which the manual takes for the end of a record; %s", r.Altered, told)
		r.Declared, r.Altered = r.Declared+r.Altered, 0
	}
	if r.Lost+r.Altered+r.Invented+r.Doubled+now.Disordered.Count-e.before.Disordered.Count > 0 {
		t.Errorf("%s, %s: %+v\n%s", fault, e.kind, r, e.judge.Verdict())
	}
	e.before = now
	d.rows.add(r)
}

// calmed waits until the goroutines that a fault needed have ended, and looks at what it left: memory in use, lines of log.
func (d *doors) calmed(t *testing.T, fault string) {
	t.Helper()
	names := ""
	now := 0
	if err := rig.Wait(rig.Patience, "the goroutines of the fault have ended", func() bool {
		var err error
		now, names, err = d.Proc.Goroutines()
		return err == nil && (d.goroutines == 0 || now <= d.goroutines+12)
	}); err != nil {
		t.Errorf("%s: %v: %d, %d at the start\n%s", fault, err, now, d.goroutines, names)
	}
	if d.goroutines == 0 {
		d.goroutines = now
	}
	out, lasted := d.Proc.Output(), time.Since(d.calm)
	d.calm = time.Now()
	if fresh := out[d.logged:]; strings.Count(fresh, "\n") > 30+10*int(lasted/time.Second) { // each input says the same once a second
		t.Errorf("%s: %d lines of log\n%s", fault, strings.Count(fresh, "\n"), fresh)
	}
	d.logged = len(out)
	if resident, _, err := rig.Memory(d.Proc.PID()); err != nil || resident > 500<<20 && !rig.RaceEnabled {
		t.Errorf("%s: %d MiB of memory in use, %v", fault, resident>>20, err)
	}
}
