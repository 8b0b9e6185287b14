package input

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"logmule/forward/config"
)

func TestKinds(t *testing.T) {
	if !slices.Equal(Kinds(), config.InputKinds) {
		t.Errorf("kinds are %v, the configuration knows %v", Kinds(), config.InputKinds)
	}
	for kind, want := range map[string]string{"tpc": `(did you mean "tcp"?); use`, "kafka": "use one of file, generate, http, stdin, tcp, udp, unix"} {
		if _, err := New(kind, nil, Env{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%q) returns %v", kind, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct{ kinds, keys, want string }{
		{"tcp http", "", "listen is missing"},
		{"tcp http", `listen = "5140"`, "is not HOST:PORT"},
		{"tcp http", `listen = "127.0.0.1:syslog"`, "number from 0 to 65535"},
		{"tcp http", `listen = "127.0.0.1:70000"`, "number from 0 to 65535"},
		{"tcp http", `listen = ":5140"`, "insecure = true"},
		{"tcp http", `listen = "0.0.0.0:5140"`, "insecure = true"},
		{"tcp http", `listen = "[::]:5140"`, "insecure = true"},
		{"tcp http", `listen = "192.0.2.1:5140"`, "insecure = true"},
		{"tcp http", `listen = "example.com:5140"`, "insecure = true"},
		{"tcp http", `listen = "[::ffff:192.0.2.1]:5140"`, "insecure = true"},
		{"stdin", `max_record = "0B"`, "max_record"},
		{"tcp http", "listen = \"127.0.0.1:1\"\nmax_record = \"9MiB\"", `from "1B" to "8MiB"`},
		{"http", "listen = \"127.0.0.1:1\"\nmax_body = \"0B\"", `max_body = "0B"`},
		{"http", "listen = \"127.0.0.1:1\"\nmax_body = \"2GiB\"", `max_body = "2GiB"`},
		{"generate", "rate = -1", "rate = -1"},
		{"generate", "count = -1", "count = -1"},
		{"generate", `size = "10B"`, "size"},
		{"file", "", "paths is missing"},
		{"file", `paths = ["app.log"]`, `paths: "app.log" is not an absolute path`},
		{"file", `paths = ["/x/[a"]`, `paths: "/x/[a" is not a glob`},
		{"file", "paths = [\"/x\"]\nexclude = [\"\"]", "exclude: is empty"},
		{"file", "paths = [\"/x\"]\nstart_at = \"ende\"", `start_at = "ende" is not known (did you mean "end"?); use "beginning", "end"`},
		{"file", "paths = [\"/x\"]\nencoding = \"utf8\"", `did you mean "utf-8"?`},
		{"file", "paths = [\"/x\"]\npartial_after = \"0s\"", "partial_after"},
		{"file", "paths = [\"/x\"]\npoll = \"1ms\"", "poll"},
		{"file", "paths = [\"/x\"]\nmax_open_files = 1", "max_open_files = 1"},
		{"file", "paths = [\"/x\"]\nmax_record = \"0B\"", "max_record"},
		{"file", "paths = [\"/x\"]\ncodec = \"sysloq\"", "codec"},
		{"file", "paths = [\"/x\"]\nmultiline.start = \"a\"\nmultiline.continuation = \"b\"", "exclude each other"},
		{"file", "paths = [\"/x\"]\nmultiline.start = \"(\"", `multiline.start = "(" is not a regular expression`},
		{"file", "paths = [\"/x\"]\nmultiline.continuation = \"(\"", `multiline.continuation = "("`},
		{"file", "paths = [\"/x\"]\nmultiline.start = \"a\"\nmultiline.max_lines = 0", "multiline.max_lines"},
		{"file", "paths = [\"/x\"]\nmultiline.start = \"a\"\nmultiline.timeout = \"0s\"", "multiline.timeout"},
		{"tcp http stdin generate file", "lisen = 1", "lisen"},
	} {
		for kind := range strings.FieldsSeq(c.kinds) {
			if _, err := New(kind, section(t, kind, c.keys+"\n"), Env{Name: "test"}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s with %s: New returns %v", kind, c.keys, err)
			}
		}
	}
}

func TestNewAccepts(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "127.9.9.9:5140", "[::1]:5140", "localhost:5140", "[::ffff:127.0.0.1]:1"} {
		for _, kind := range []string{"tcp", "http"} {
			if _, err := New(kind, section(t, kind, "listen = \""+listen+"\"\n"), Env{}); err != nil {
				t.Errorf("%s on %s: %v", kind, listen, err)
			}
			if _, err := New(kind, section(t, kind, "insecure = true\nlisten = \"0.0.0.0:1\"\n"), Env{}); err != nil {
				t.Errorf("%s with insecure: %v", kind, err)
			}
		}
	}
}

func TestReceiptWithoutLog(t *testing.T) {
	if err := (Receipt{Sequence: 7}).Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWithGrace(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	late, cancel := withGrace(ctx)
	defer cancel()
	stop()
	if late.Err() != nil {
		t.Error("the late context ended with the first")
	}
	select {
	case <-late.Done():
	case <-time.After(patience):
		t.Error("the late context does not end")
	}
	late, cancel = withGrace(t.Context())
	cancel()
	if !errors.Is(late.Err(), context.Canceled) {
		t.Error("the late context is not cancelled")
	}
}

func TestSparing(t *testing.T) {
	var s sparing
	start := time.Unix(1000, 0)
	for i, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {1, false}, {999 * time.Millisecond, false}, {time.Second, true}, {time.Second, false}} {
		if got := s.allow(start.Add(c.after)); got != c.want {
			t.Errorf("step %d: allow is %v", i, got)
		}
	}
}
