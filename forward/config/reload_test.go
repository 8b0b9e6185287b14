package config

import (
	"strings"
	"testing"
)

const running = `data_dir = "/data"
[admin]
listen = "127.0.0.1:8686"
[queue]
max_size = "1GiB"
[input.a]
type = "tcp"
listen = "127.0.0.1:1"
tls = { cert = "c", key = "k" }
[output.b]
type = "stdout"
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSectionsAreEqualByWhatTheySay(t *testing.T) {
	t.Setenv("PORT", "1")
	a := mustParse(t, running).Inputs[0]
	for change, same := range map[string]bool{
		"listen = \"127.0.0.1:1\"|listen = \"127.0.0.1:${PORT}\" # as before":   true,
		"data_dir = \"/data\"|\n\n\ndata_dir = \"/data\"":                       true,
		"tls = { cert = \"c\", key = \"k\" }|tls.key = \"k\"\ntls.cert = \"c\"": true,
		"listen = \"127.0.0.1:1\"|listen = \"127.0.0.1:2\"":                     false,
		"key = \"k\"|key = \"other\"":                                           false,
		"type = \"tcp\"|type = \"http\"":                                        false,
		"[input.a]|[input.b]":                                                   false,
		"type = \"tcp\"|type = \"tcp\"\ninsecure = false":                       false,
	} {
		from, to, _ := strings.Cut(change, "|")
		b := mustParse(t, strings.Replace(running, from, to, 1)).Inputs[0]
		if a.Equal(b) != same || b.Equal(a) != same {
			t.Errorf("%q: equal = %v, want %v", to, a.Equal(b), same)
		}
	}
}

func TestReplacePutsBackWhatNeedsARestart(t *testing.T) {
	old := mustParse(t, running)
	next := mustParse(t, `data_dir = "/data"
memory_limit = "1MiB"
shutdown_timeout = "1s"
[admin]
listen = "127.0.0.1:1"
[queue]
max_size = "2GiB"
sync = "never"
segment_size = "1MiB"
[log]
level = "debug"
format = "json"
`)
	warnings, err := next.Replace(old)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.Error())
	}
	for _, want := range []string{"f:2: memory_limit changes only with a restart", "f:5: admin.listen", "f:8: queue.sync", "f:9: queue.segment_size", "f:12: log.format"} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("nothing says %q: %q", want, got)
		}
	}
	if len(got) != 5 {
		t.Errorf("%d warnings, want 5: %q", len(got), got)
	}
	if next.Queue.MaxSize != 2<<30 || next.ShutdownTimeout == old.ShutdownTimeout || next.Log.Level != "debug" {
		t.Error("what can change live was put back")
	}
	if next.Queue.Sync != old.Queue.Sync || next.Admin != old.Admin || next.MemoryLimit != old.MemoryLimit || next.Log.Format != "text" {
		t.Error("what needs a restart is said to be in force")
	}
	again := mustParse(t, running)
	if warnings, err := again.Replace(old); err != nil || len(warnings) != 0 {
		t.Errorf("the same again: %v, %v", warnings, err)
	}
}

func TestAnotherDataDirIsRefused(t *testing.T) {
	next := mustParse(t, "# moved\ndata_dir = '/other'\n")
	_, err := next.Replace(mustParse(t, running))
	if err == nil || !strings.HasPrefix(err.Error(), `f:2: data_dir = "/other" cannot`) {
		t.Errorf("Replace = %v", err)
	}
}
