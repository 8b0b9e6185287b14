package main

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"

	"logmule/forward/config"
)

// daemonLog is the log of the daemon.
type daemonLog struct {
	*slog.Logger
	level *slog.LevelVar
	fold  *fold
}

// newLog makes the log that [log] asks for. Where w is the journal, which has times and levels of its own, text lines
// carry theirs in its way.
func newLog(w io.Writer, keys config.Log) *daemonLog {
	level := new(slog.LevelVar)
	level.Set(keys.Least())
	opt := &slog.HandlerOptions{Level: level}
	var to slog.Handler
	switch {
	case keys.Format == "json":
		to = slog.NewJSONHandler(w, opt)
	case w == io.Writer(os.Stderr) && underJournal():
		to = journalHandler(w, opt)
	default:
		to = slog.NewTextHandler(w, opt)
	}
	f := newFold(to)
	return &daemonLog{Logger: slog.New(f), level: level, fold: f}
}

// libraryText bounds what is shown of a line that a library writes, which may quote a peer; in bytes.
const libraryText = 200

// libraries is where what libraries write to the standard log goes: net/http does that, with what peers say.
type libraries struct{ log *slog.Logger }

// Write logs a line.
func (l libraries) Write(line []byte) (int, error) {
	text := strings.TrimSpace(strings.ToValidUTF8(string(line[:min(len(line), libraryText)]), "?"))
	l.log.Warn("a library has found something strange", "text", text)
	return len(line), nil
}

// adopt takes in what libraries write to the standard log, until the function that it returns is called.
func (l *daemonLog) adopt() (leave func()) {
	flags, to := log.Flags(), log.Writer()
	log.SetFlags(0)
	log.SetOutput(libraries{l.Logger})
	return func() {
		log.SetFlags(flags)
		log.SetOutput(to)
	}
}

func underJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}

// journalHandler writes text without times, each line with the priority that sd-daemon(3) describes.
func journalHandler(w io.Writer, opt *slog.HandlerOptions) slog.Handler {
	without := *opt
	without.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return slog.NewTextHandler(prioritized{w}, &without)
}

// prioritized puts the priority in front of a line, which is one Write of a slog.TextHandler and begins with its level.
type prioritized struct{ io.Writer }

func (p prioritized) Write(line []byte) (int, error) {
	priority := "<6>"
	for level, as := range map[string]string{"level=DEBUG": "<7>", "level=WARN": "<4>", "level=ERROR": "<3>"} {
		if bytes.HasPrefix(line, []byte(level)) {
			priority = as
		}
	}
	if _, err := p.Writer.Write(append([]byte(priority), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
