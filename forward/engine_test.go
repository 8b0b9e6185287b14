package forward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/admin"
	"logmule/forward/config"
	"logmule/forward/input"
	"logmule/forward/output"
	"logmule/queue"
	"logmule/queue/segment"
)

func TestStartAndStopOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var mu sync.Mutex
		var order []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
		in := newTap()
		r.addInput("in", func(env input.Env) (input.Input, error) {
			in.env = env
			return runFunc(func(ctx context.Context, emit input.Emit) error {
				time.Sleep(time.Second)
				note("input listens")
				err := in.Run(ctx, emit)
				if _, err := emit(context.WithoutCancel(ctx), linesPack("two\n")); err != nil { // what was read before the stop
					t.Error(err)
				}
				time.Sleep(2 * time.Second)
				note("input stopped")
				return err
			}), nil
		})
		out := new(sink)
		out.send = func(ctx context.Context, b *output.Batch) error {
			note(fmt.Sprintf("request %d begins", b.First))
			pause(ctx, time.Duration(b.First)*3*time.Second/2)
			note(fmt.Sprintf("request %d ends", b.First))
			return nil
		}
		r.addOutput("out", out.build)

		outside := r.outside()
		open := outside.queue
		outside.admin = func(_ string, _ bool, source admin.Source) (pages, error) {
			note("admin")
			if ok, why := source.Ready(); ok || !strings.Contains(why, "starting") {
				t.Errorf("Ready = %v, %q before the queue is open", ok, why)
			}
			source.Status()
			return noPages{}, nil
		}
		e, err := newEngine(r.cfg, Options{Log: r.log.logger()}, outside)
		if err != nil {
			t.Fatal(err)
		}
		e.outside.queue = open
		r.e = e
		ctx, cancel := context.WithCancel(t.Context())
		done := ended(func() {
			if err := e.Run(ctx); err != nil {
				t.Error(err)
			}
			note("run returns")
		})
		synctest.Wait()
		if ok, why := e.Ready(); ok || !strings.Contains(why, "input in does not listen yet") {
			t.Errorf("Ready = %v, %q before the input listens", ok, why)
		}
		in.send(t, "one")
		if ok, why := e.Ready(); !ok {
			t.Errorf("not ready: %s", why)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if ok, why := e.Ready(); ok || why != "stopping" || e.status().State != engineStopping {
			t.Errorf("Ready = %v, %q while stopping", ok, why)
		}
		<-done
		want := []string{
			"admin", "input listens", "request 1 begins", "request 1 ends", "request 2 begins", "input stopped", "request 2 ends", "run returns",
		}
		if !slices.Equal(order, want) {
			t.Errorf("order %q, want %q", order, want)
		}
		if got := r.log.with("msg=ready"); len(got) != 1 {
			t.Errorf("readiness logged %d times", len(got))
		}
	})
}

func TestBlockedQueueIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize, r.cfg.Queue.Compression = 64<<10, 1<<20, "none"
		var dead atomic.Bool
		dead.Store(true)
		out.send = func(_ context.Context, b *output.Batch) error {
			if dead.Load() {
				return errRefused
			}
			return nil
		}
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		line := strings.Repeat("x", 10_000)
		var failed error
		for range 1000 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			failed = in.trySend(ctx, line)
			cancel()
			if failed != nil {
				break
			}
		}
		if !errors.Is(failed, context.DeadlineExceeded) {
			t.Errorf("a full queue gives %v", failed)
		}
		if ok, why := r.e.Ready(); ok || !strings.Contains(why, "full") {
			t.Errorf("Ready = %v, %q", ok, why)
		}
		if s := r.e.status(); s.State != engineBlocked || s.Queue.Full == nil || s.Queue.Full.WhenFull != "block" || !strings.Contains(s.String(), "full since") {
			t.Errorf("status: %+v\n%s", s.Queue, s)
		}
		dead.Store(false)
		eventually(t, "ready again", func() bool { ok, _ := r.e.Ready(); return ok })
		r.mustStop()
	})
}

func TestStopWhileFullIsClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize, r.cfg.Queue.Compression = 64<<10, 1<<20, "none"
		out.send = func(context.Context, *output.Batch) error { return errRefused }
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		for ok := true; ok; ok, _ = r.e.Ready() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			in.trySend(ctx, strings.Repeat("x", 10_000))
			cancel()
		}
		r.mustStop()
	})
}

func TestIdleEngineDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := newRig(t), newTap()
		out := &breakable{lost: make(chan struct{}, 1)}
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		in.send(t, "one")
		eventually(t, "delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		time.Sleep(time.Minute)
		ops, sends, log := r.fs.Ops(), out.sends(), len(r.log.with())
		time.Sleep(24 * time.Hour)
		if r.fs.Ops() != ops || out.sends() != sends || len(r.log.with()) != log {
			t.Errorf("an idle day: %d operations on the disk, %d sends, %d lines of log", r.fs.Ops()-ops, out.sends()-sends, len(r.log.with())-log)
		}
		r.mustStop()
	})
}

func TestQueueOptions(t *testing.T) {
	cfg, err := config.Parse("test.toml", []byte(`
data_dir = "/data"
[queue]
segment_size = "1MiB"
max_size = "32MiB"
min_free = "0B"
when_full = "drop_newest"
sync = "200ms"
compression = "none"
keep_for = "1h"
keep_size = "1MiB"
forget_after = "2h"
scrub_rate = "1MiB"
`))
	if err != nil {
		t.Fatal(err)
	}
	got := queueOptions(cfg, "/data", nil)
	if got.Source == nil || got.Source("in/a/b") != "input a" {
		t.Error("sources have no names")
	}
	got.Holder, got.Log, got.Source = "", nil, nil
	want := queue.Options{
		Dir: "/data", SegmentSize: 1 << 20, MaxSize: 32 << 20, MinFree: -1, WhenFull: queue.DropNewest, Codec: segment.None,
		Sync: queue.SyncPolicy{Mode: queue.SyncInterval, Every: 200 * time.Millisecond}, KeepFor: time.Hour, KeepSize: 1 << 20, ForgetAfter: 2 * time.Hour,
		ScrubRate: 1 << 20,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("options %+v, want %+v", got, want)
	}
	for name, c := range map[string]struct {
		full queue.WhenFull
		sync queue.SyncMode
	}{
		"when_full = \"block\"":       {queue.Block, queue.SyncAlways},
		"when_full = \"drop_oldest\"": {queue.DropOldest, queue.SyncAlways},
		"sync = \"never\"":            {queue.Block, queue.SyncNever},
		"sync = \"always\"":           {queue.Block, queue.SyncAlways},
	} {
		cfg, err := config.Parse("test.toml", []byte("data_dir = \"/data\"\n[queue]\n"+name+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		got := queueOptions(cfg, "/data", nil)
		if got.WhenFull != c.full || got.Sync.Mode != c.sync || got.MinFree != 256<<20 || got.Codec != segment.Snappy {
			t.Errorf("%s gives %+v", name, got)
		}
	}
}

func TestNewEngineReportsEveryError(t *testing.T) {
	r := newRig(t)
	r.addInput("a", func(input.Env) (input.Input, error) { return nil, errors.New("listen is missing") })
	r.addOutput("b", func(output.Env) (output.Output, error) { return nil, errors.New("url is missing") })
	_, err := newEngine(r.cfg, Options{Log: r.log.logger()}, r.outside())
	if err == nil || !strings.Contains(err.Error(), "listen is missing") || !strings.Contains(err.Error(), "url is missing") {
		t.Errorf("newEngine = %v", err)
	}
	if _, ok := errors.AsType[*config.Error](err); !ok {
		t.Errorf("%T is no *config.Error", err)
	}
}

// configure parses a configuration with a data directory of its own, on the real disk.
func configure(t *testing.T, sections string) (*config.Config, string) {
	t.Helper()
	dir := t.TempDir()
	text := strings.ReplaceAll("data_dir = \"DIR/data\"\n[admin]\nlisten = \"127.0.0.1:0\"\n"+sections, "DIR", dir)
	cfg, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg, dir
}

func TestCheckHasNoSideEffects(t *testing.T) {
	cfg, dir := configure(t, "[input.app]\ntype = \"http\"\nlisten = \"127.0.0.1:0\"\n[output.file]\ntype = \"file\"\npath = \"DIR/out.log\"\n")
	if err := Check(cfg); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("Check left %v, %v", files, err)
	}
	cfg, _ = configure(t, "[input.app]\ntype = \"http\"\nlistne = \"127.0.0.1:0\"\n")
	err := Check(cfg)
	placed, ok := errors.AsType[*config.Error](err)
	if !ok || placed.Line != 6 || !strings.Contains(err.Error(), "listne") {
		t.Errorf("Check = %v, want an error at line 6", err)
	}
}

// run is New and Run.
func run(t *testing.T, cfg *config.Config) error {
	t.Helper()
	e, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e.Run(t.Context())
}

func TestRunRefusesAPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg, dir := configure(t, "")
	cfg.Admin.Listen = taken.Addr().String()
	if err := run(t, cfg); err == nil || !strings.Contains(err.Error(), "admin.listen") || !strings.Contains(err.Error(), cfg.Admin.Listen) {
		t.Errorf("Run = %v, want an error that names key and address", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the data directory was made before the port was tried")
	}
	cfg, _ = configure(t, "[input.app]\ntype = \"tcp\"\nlisten = \""+taken.Addr().String()+"\"\n")
	if err := run(t, cfg); err == nil || !strings.Contains(err.Error(), "input app") || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("Run = %v, want an error that names input and address", err)
	}
}

func TestRunEndToEnd(t *testing.T) {
	cfg, dir := configure(t, `
[input.app]
type = "http"
listen = "127.0.0.1:0"
[output.file]
type = "file"
path = "DIR/out.log"
`)
	var log lines
	e, err := newEngine(cfg, Options{Log: log.logger()}, reality())
	if err != nil {
		t.Fatal(err)
	}
	pagesAt := make(chan string, 1)
	listen := e.outside.admin
	e.outside.admin = func(address string, insecure bool, source admin.Source) (pages, error) {
		p, err := listen(address, insecure, source)
		if err == nil {
			pagesAt <- p.Address()
		}
		return p, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	run := make(chan error, 1)
	go func() { run <- e.Run(ctx) }()
	base := "http://" + <-pagesAt
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	get := func(path string) (int, string) {
		response, err := client.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	poll(t, "ready", func() bool { code, _ := get("/readyz"); return code == 200 })
	var s Status
	if _, body := get("/status"); json.Unmarshal([]byte(body), &s) != nil {
		t.Fatalf("/status: %s", body)
	}
	want := strings.Join(numbered(0, 1000), "\n") + "\n"
	response, err := client.Post("http://"+s.Inputs[0].Address, "text/plain", strings.NewReader(want))
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("post: %v, %v", response, err)
	}
	response.Body.Close()
	poll(t, "delivered", func() bool {
		_, body := get("/metrics")
		return strings.Contains(body, "logmule_output_records_total{output=\"file\"} 1000\n")
	})
	if code, body := get("/healthz"); code != 200 {
		t.Errorf("/healthz = %d %s", code, body)
	}
	if _, body := get("/"); !strings.Contains(body, "file") || !strings.Contains(body, "/metrics") {
		t.Errorf("/ shows %s", body)
	}
	cancel()
	if err := <-run; err != nil {
		t.Errorf("run: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "out.log")); err != nil || string(got) != want {
		t.Errorf("the file has %d bytes, %v, want %d", len(got), err, len(want))
	}
}

// poll waits in real time until a condition holds.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
