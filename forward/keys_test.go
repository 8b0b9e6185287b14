package forward

import (
	"testing"

	"logmule/forward/config"
)

// checked is what Check says about an output with the given keys, which begin on line 7.
func checked(t *testing.T, kind, keys string) string {
	t.Helper()
	text := "data_dir = '/x'\n[input.app]\ntype = 'stdin'\n[output.o]\ntype = '" + kind + "'\n"
	if kind == "http" {
		text += "url = 'http://127.0.0.1:1'\n"
	} else {
		text += "\n"
	}
	cfg, err := config.Parse("f", []byte(text+keys))
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(cfg); err != nil {
		return err.Error()
	}
	return ""
}

func TestOutputKeys(t *testing.T) {
	for _, c := range []struct{ kind, keys, want string }{
		{"stdout", "", ""},
		{"stdout", "from = ['app']\nmax_backlog = '1MiB'\nrate_limit = '1KiB'\nin_flight = 1\nstart_at = 'end'", ""},
		{"stdout", "start_at = 'oldest'", ""},
		{"stdout", "start_at = 'beginning'", ""},
		{"http", "in_flight = 64", ""},
		{"stdout", "\nstart_at = 'and'", `f:8: start_at = "and" is not known (did you mean "end"?); use "oldest" or "end"`},
		{"stdout", "from = ['app', 'ap']", `f:7: from names "ap", which is no configured input (did you mean "app"?); use the NAME of an [input.NAME]`},
		{"http", "in_flight = 0", "f:7: in_flight = 0 is out of range; use 1 to 64"},
		{"http", "in_flight = 65", "f:7: in_flight = 65 is out of range; use 1 to 64"},
		{"stdout", "in_flight = 2", "f:7: " + errOrder.Error()},
		{"stdout", "match = 'type == \"x\" and severity <= 3'", ""},
		{"stdout", "\nmatch = 'tpye == \"x\"'", `f:8: match cannot be read at character 1: unknown name tpye (did you mean "type"?); the names are fields, hostname, logger, payload, pid, severity, timestamp, type`},
		{"stdout", "rate_limit = 5", `f:7: rate_limit is the number 5; it must be a string with a unit, such as "64MiB"`},
		{"stdout", "mach = 'x'", `f:7: unknown key "mach" in [output.o] (did you mean "match"?); the keys are codec, match, from, max_backlog, rate_limit, in_flight, start_at and type`},
	} {
		if got := checked(t, c.kind, c.keys); got != c.want {
			t.Errorf("%s with %q: got\n%s\nwant\n%s", c.kind, c.keys, got, c.want)
		}
	}
}
