package input

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logmule/forward/pack"
)

// tiny is the emit of a queue that can never hold more than 100 bytes at once.
func tiny(emit Emit) Emit {
	return func(ctx context.Context, p *pack.Pack) (Receipt, error) {
		if len(p.Body) > 100 {
			return Receipt{}, fmt.Errorf("append %d bytes: %w", len(p.Body), ErrTooLarge)
		}
		return emit(ctx, p)
	}
}

// TestTooLargeTogether hands many records to a queue that can hold few at once: all of them are stored, but for the one that
// is too large by itself, which is counted.
func TestTooLargeTogether(t *testing.T) {
	var lines, counted string
	var want []string
	for i := range 60 {
		record := fmt.Sprint("record ", i)
		if i == 30 {
			record = strings.Repeat("x", 200)
		} else {
			want = append(want, record)
		}
		lines += record + "\n"
		counted += fmt.Sprintf("%d <1>a\n%s", len(record)+5, record)
	}
	check := func(t *testing.T, got *whole, r *running, before string) {
		t.Helper()
		for i, record := range got.wait(t, len(want)) {
			if string(record.Payload) != before+want[i] {
				t.Fatalf("record %d is %q, want %q", i, record.Payload, before+want[i])
			}
		}
		if n := r.counters.TooLarge.Load(); n != 1 || strings.Count(r.text.String(), "records refused and lost") != 1 {
			t.Errorf("%d records are counted as too large, log %s", n, r.text)
		}
	}
	t.Run("tcp", func(t *testing.T) {
		got := new(whole)
		r := begin[*tcp](t, "tcp", anyPort, tiny(got.emit))
		say(t, dial(t, r.address), lines)
		check(t, got, r, "")
	})
	t.Run("octet-counted", func(t *testing.T) {
		got := new(whole)
		r := begin[*tcp](t, "tcp", anyPort+"framing = \"octet-counted\"\n", tiny(got.emit))
		say(t, dial(t, r.address), counted)
		check(t, got, r, "<1>a\n")
	})
	t.Run("udp", func(t *testing.T) {
		got := new(whole)
		emit, entered, release := held(tiny(got.emit))
		r := begin[*udp](t, "udp", anyPort+"framing = \"newline\"\n", emit)
		defer release()
		conn := dialUDP(t, r.address)
		head, rest, _ := strings.Cut(lines, "\n")
		say(t, conn, head)
		<-entered
		rest, _, _ = strings.Cut(rest, "x")
		say(t, conn, rest)
		release()
		got.wait(t, 30)
		if n := r.counters.TooLarge.Load(); n != 0 {
			t.Errorf("%d records are counted as too large", n)
		}
	})
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.log")
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		got := new(whole)
		r := begin[*file](t, "file", fmt.Sprintf("paths = [%q]\nstart_at = \"beginning\"\n", path), tiny(got.emit))
		check(t, got, r, "")
	})
}

// TestTooLargeIsSaidNowAndThen: a sender whose records are all too large does not fill the log.
func TestTooLargeIsSaidNowAndThen(t *testing.T) {
	refuse := func(context.Context, *pack.Pack) (Receipt, error) { return Receipt{}, ErrTooLarge }
	r := begin[*tcp](t, "tcp", anyPort, refuse)
	say(t, dial(t, r.address), strings.Repeat("too large\n", 100))
	eventually(t, "100 refused records", func() bool { return r.counters.TooLarge.Load() == 100 })
	if n := strings.Count(r.text.String(), "records refused and lost"); n != 1 {
		t.Errorf("%d lines: %s", n, r.text)
	}
}
