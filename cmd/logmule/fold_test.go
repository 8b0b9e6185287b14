package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/config"
)

// folded is a log that folds, as text without times.
func folded() (*slog.Logger, *fold, *bytes.Buffer) {
	var b bytes.Buffer
	f := newFold(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return slog.New(f), f, &b
}

func TestRepeatedLinesAreFolded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, f, b := folded()
		out := log.With("output", "a")
		for i := range 100 {
			out.Warn("failed", "error", errors.New("refused"), "peer", i)
			time.Sleep(50 * time.Millisecond)
		}
		log.With("output", "b").Warn("failed", "error", "refused") // another output, another error, another level: said at once
		out.Warn("failed", "error", "reset")
		out.Error("failed", "error", "refused")
		out.Info("done")
		out.Info("done")
		time.Sleep(time.Minute)
		synctest.Wait()
		want := `level=WARN msg=failed output=a error=refused peer=0
level=WARN msg=failed output=b error=refused
level=WARN msg=failed output=a error=reset
level=ERROR msg=failed output=a error=refused
level=INFO msg=done output=a
level=INFO msg=done output=a
level=WARN msg=failed output=a error=refused peer=99 repeated=99
`
		if b.String() != want {
			t.Errorf("got\n%swant\n%s", b, want)
		}
		if n := len(f.lines.known); n > 4 {
			t.Errorf("%d lines are remembered", n)
		}
		b.Reset()
		out.Warn("failed", "error", "refused")
		if got := strings.Count(b.String(), "\n"); got != 1 {
			t.Errorf("after a minute of silence a line is written %d times", got)
		}
	})
}

func TestLastingRepeatsAreOneLineATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, f, b := folded()
		for range 600 {
			log.Warn("again")
			time.Sleep(100 * time.Millisecond)
		}
		f.flush()
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) < 6 || len(lines) > 8 {
			t.Errorf("a minute of repeats is %d lines:\n%s", len(lines), b)
		}
		total := 1
		for _, line := range lines[1:] {
			var n int
			if _, err := fmt.Sscanf(line, "level=WARN msg=again repeated=%d", &n); err != nil {
				t.Errorf("%q: %v", line, err)
			}
			total += n
		}
		if total != 600 {
			t.Errorf("%d lines are accounted for, want 600", total)
		}
	})
}

func TestFlushLosesNoCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, f, b := folded()
		log.Warn("one")
		log.Warn("one")
		f.flush()
		log.Warn("one")
		want := "level=WARN msg=one\nlevel=WARN msg=one repeated=1\nlevel=WARN msg=one\n"
		if b.String() != want {
			t.Errorf("got\n%swant\n%s", b, want)
		}
	})
}

func TestFoldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, f, b := folded()
		for i := range 10 * foldLines {
			log.Warn("failed", "error", i)
		}
		if n := len(f.lines.known); n > foldLines {
			t.Errorf("%d lines are remembered", n)
		}
		if n := strings.Count(b.String(), "\n"); n != 10*foldLines {
			t.Errorf("%d of %d different lines were written", n, 10*foldLines)
		}
	})
}

func TestLogFormats(t *testing.T) {
	var b bytes.Buffer
	log := newLog(&b, config.Log{Level: "warn", Format: "json"})
	log.Info("not this")
	log.Warn("this", "output", "a")
	var line map[string]any
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line["msg"] != "this" || line["output"] != "a" || line["level"] != "WARN" || line["time"] == nil {
		t.Errorf("%v: %s", err, &b)
	}
	b.Reset()
	log.level.Set(slog.LevelDebug) // as a reload does
	log.Debug("and this")
	if !strings.Contains(b.String(), "and this") {
		t.Error("the level does not follow")
	}
	b.Reset()
	newLog(&b, config.Log{Level: "info", Format: "text"}).Info("hello", "n", 1)
	if got := b.String(); !strings.HasPrefix(got, "time=") || !strings.HasSuffix(got, "level=INFO msg=hello n=1\n") {
		t.Errorf("text is %q", got)
	}
}

func TestJournalLinesCarryPriorities(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(journalHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})).With("output", "a")
	log.Debug("d")
	log.Info("i")
	log.Warn("w")
	log.Error("e")
	want := "<7>level=DEBUG msg=d output=a\n<6>level=INFO msg=i output=a\n<4>level=WARN msg=w output=a\n<3>level=ERROR msg=e output=a\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
