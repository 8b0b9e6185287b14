package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/recovery"
)

func catCommand() *cobra.Command {
	var from, to string
	var follow bool
	format := formatText
	cmd := &cobra.Command{
		Use:   "cat DIR|SEGMENT",
		Short: "Print the records of a data directory or of one segment file",
		Long: `Print the records of a data directory, or of one *.seg file, oldest first. Nothing is
changed, and it may be done while the daemon runs. Damaged frames are skipped with a note
on standard error.

Formats: text shows sequence, time, type, logger and payload, with control bytes escaped,
and of a dead letter in front of the payload who refused it, when and why; json prints one
object a record, with the payload as payload, or as payload_base64 where it is not UTF-8;
raw prints the payloads as they are, each followed by a line feed.

A bound is a sequence number, or a time: RFC 3339, "2006-01-02 15:04:05" (local), or how
long ago, such as 10m. Both bounds are inclusive. Times are those of arrival.

Exit status: 0 printed, 1 it cannot be read, 2 usage, 130 interrupted.`,
		Example: `  logmule cat /var/lib/logmule --from 10m
  logmule cat /var/lib/logmule --from 1200 --to 1300 --format json
  logmule cat /var/lib/logmule --follow --format raw | grep error
  logmule cat /var/lib/logmule/deadletter              what was refused, and why`,
		Args: named(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringVar(&from, "from", "", "print from this `SEQ|TIME` on")
	cmd.Flags().StringVar(&to, "to", "", "print up to this `SEQ|TIME`")
	cmd.Flags().Var(&format, "format", "text, json or raw")
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for more records, until Ctrl-C")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt := recovery.WalkOptions{Follow: follow, Note: func(text string) {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", clean(text))
		}}
		var err error
		now := time.Now()
		if opt.From, err = parseBound(from, now); err != nil {
			return fmt.Errorf("--from %s: %w", from, err)
		}
		if opt.To, err = parseBound(to, now); err != nil {
			return fmt.Errorf("--to %s: %w", to, err)
		}
		if noLetters(args[0]) {
			opt.Note(noLettersNote)
			return nil
		}
		ctx, stop := untilInterrupt(cmd.Context())
		defer stop()
		p := newPrinter(cmd.OutOrStdout(), format, opt)
		err = walk(ctx, args[0], opt, p)
		return catFailure(args[0], follow, ctx.Err() != nil, err)
	}
	return cmd
}

// walk prints what is in a data directory or a segment file.
func walk(ctx context.Context, path string, opt recovery.WalkOptions, p *printer) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	each := recovery.Walk
	if !info.IsDir() {
		each = recovery.WalkSegment
	}
	err = each(ctx, vfs.OS(), path, opt, func(f *segment.Frame) error {
		if err := p.frame(f); err != nil || !opt.Follow {
			return err
		}
		return p.out.Flush()
	})
	return errors.Join(err, p.out.Flush())
}

// catFailure turns the end of a walk into that of the command.
func catFailure(path string, follow, interrupted bool, err error) error {
	switch {
	case err == nil || brokenPipe(err):
		return nil
	case interrupted && follow:
		return nil
	case interrupted:
		return &failure{code: exitInterrupted}
	default:
		return &failure{code: exitFailed, err: fmt.Errorf("print %s: %w", path, err), hint: dirHint(err)}
	}
}

// parseBound reads a SEQ or TIME; an empty text is no bound.
func parseBound(text string, now time.Time) (recovery.Bound, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return recovery.Bound{}, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		if n == 0 {
			return recovery.Bound{}, errors.New("sequences begin at 1")
		}
		return recovery.Bound{Sequence: n}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return recovery.Bound{Time: now.Add(-ago)}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return recovery.Bound{Time: t}, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return recovery.Bound{Time: t}, nil
		}
	}
	return recovery.Bound{}, errors.New(`it is neither a sequence number nor a time such as 2006-01-02T15:04:05Z, "2006-01-02 15:04:05" or 10m`)
}

// format is the value of --format.
type format string

const (
	formatText format = "text"
	formatJSON format = "json"
	formatRaw  format = "raw"
)

// String, Set and Type make a flag of it.
func (f *format) String() string { return string(*f) }

func (f *format) Set(s string) error {
	switch format(s) {
	case formatText, formatJSON, formatRaw:
		*f = format(s)
		return nil
	}
	return errors.New("use text, json or raw")
}

func (f *format) Type() string { return "FORMAT" }
