package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"logmule/queue"
	"logmule/queue/vfs"
)

func rewindCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "rewind DIR OUTPUT --to oldest|newest|SEQ|TIME",
		Short: "Have an output send records again, or skip some",
		Long: `Move the position of an output in a data directory, while no daemon runs: back, so that it
sends records again, or forth, so that it skips some. Other outputs are not touched.

  oldest   the oldest record that is left; what is delivered to all is deleted, except
           for what keep_for and keep_size keep
  newest   behind the last record: everything that waits is skipped
  SEQ      that record; if it is gone, the oldest that is left; one that has not come yet is
           refused
  TIME     the first record in order that was appended at or after that time, by the clock
           of this machine when it was appended: RFC 3339, "2006-01-02 15:04:05" (local),
           or how long ago, such as 10m; one that has not come yet is refused

The new position is durable when the command says so; until then the old one holds. Skipped
records stay in the queue as long as others need them and are written into losses.jsonl.
Batches that are sent again have other ids than the first time. A file output appends.

Exit status: 0 moved, 1 it could not be done, 2 usage.`,
		Example: `  logmule rewind /var/lib/logmule hq --to 2h
  logmule rewind /var/lib/logmule hq --to newest
  logmule rewind /var/lib/logmule/deadletter replay --to oldest    replay them once more`,
		Args: named(cobra.ExactArgs(2)),
	}
	cmd.Flags().StringVar(&to, "to", "", "where to: oldest, newest, `SEQ|TIME`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, output := args[0], args[1]
		target, err := parseTarget(to, time.Now())
		if err != nil {
			return err
		}
		if err := ownedByUs(dir); err != nil {
			return &failure{code: exitFailed, err: err, hint: dirHint(err)}
		}
		done, err := queue.Rewind(queue.Options{Dir: dir, Holder: holder("rewind"), Log: warnings(cmd.ErrOrStderr())}, output, target)
		var none *queue.NoRecordError
		if errors.As(err, &none) {
			return &failure{code: exitUsage, err: fmt.Errorf("rewind %s in %s: %w", output, dir, err)}
		}
		if err != nil {
			return &failure{code: exitFailed, err: fmt.Errorf("rewind %s in %s: %w", output, dir, err), hint: offlineHint(err)}
		}
		if done.Unlogged != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: the position is in checkpoints.db; not yet in the log, which is read where that file is lost: %s\n", clean(done.Unlogged.Error()))
		}
		return write(cmd.OutOrStdout(), rewoundLine(output, target, done))
	}
	return cmd
}

// parseTarget reads the value of --to.
func parseTarget(text string, now time.Time) (queue.Target, error) {
	switch strings.TrimSpace(text) {
	case "":
		return queue.Target{}, errors.New("--to is missing; use oldest, newest, a sequence number or a time")
	case "oldest":
		return queue.Target{Oldest: true}, nil
	case "newest":
		return queue.Target{Newest: true}, nil
	}
	bound, err := parseBound(text, now)
	if err != nil {
		return queue.Target{}, fmt.Errorf("--to %s: %w", text, err)
	}
	if bound.Time.After(now) {
		return queue.Target{}, fmt.Errorf("--to %s has not come yet: all that waits would be skipped; use newest for that", text)
	}
	return queue.Target{Sequence: bound.Sequence, Time: bound.Time}, nil
}

// rewoundLine says in one line what became of a position.
func rewoundLine(output string, to queue.Target, r queue.Rewound) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: position %d, was %d; ", clean(output), r.After, r.Before)
	switch {
	case r.Records == 0:
		b.WriteString("no record waits to be sent")
	case r.Again > 0:
		fmt.Fprintf(&b, "%s to be sent, %d of them again, the first of %s", count(r.Records, "record"), r.Again, moment(r.Since))
	default:
		fmt.Fprintf(&b, "%s to be sent, the first of %s", count(r.Records, "record"), moment(r.Since))
	}
	if r.Skipped > 0 {
		fmt.Fprintf(&b, "; SKIPPED %s, which this output does not get", count(r.Skipped, "record"))
	}
	switch {
	case to.Sequence > 0 && to.Sequence < r.After:
		fmt.Fprintf(&b, "; %d is gone, %d is the oldest that is left", to.Sequence, r.After)
	case r.After == r.First && r.First > 1:
		fmt.Fprintf(&b, "; records before %d are gone", r.First)
	}
	b.WriteString("\n")
	return b.String()
}

// holder names a command in the lock file.
func holder(command string) string {
	return fmt.Sprintf("logmule %s, process %d", command, os.Getpid())
}

// warnings is a log for what a command does to a queue: only what is wrong is of interest.
func warnings(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// ownedByUs is an error where what this process writes into dir could not be read by the daemon, which runs as the user
// that dir belongs to.
func ownedByUs(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d and this is user %d, so the daemon could not read what this writes; run it as that user, as sudo -u '#%d' logmule does",
			dir, owner.Uid, os.Geteuid(), owner.Uid)
	}
	return nil
}

// offlineHint is the next step of a command that needs a data directory which nobody has open.
func offlineHint(err error) string {
	var locked *vfs.LockedError
	if errors.As(err, &locked) {
		return "stop the daemon first: this is for a data directory that no process has open"
	}
	return dirHint(err)
}
