package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"logmule/forward"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// fsckOptions are the flags of fsck.
type fsckOptions struct{ deep, asJSON, quiet, mend bool }

func fsckCommand() *cobra.Command {
	var flags fsckOptions
	cmd := &cobra.Command{
		Use:   "fsck DIR",
		Short: "Check every byte of a data directory, and repair it",
		Long: `Check every checksum of every byte of a data directory. Nothing is changed, and it may be
done while the daemon runs.

With --repair, which needs the daemon stopped, what is damaged is healed from the parity as
far as that goes. What nothing gives back is copied to quarantine/ and written down in
losses.jsonl, and the segment is written anew without it; torn tails are cut; trailers,
indexes, names and checkpoints.db are made again. All that is replaced stays in
quarantine/ as it was. A repair may be interrupted at any point, and run again.

A torn tail, which is what a crash leaves behind, is clean; so is damage that the loss
ledger tells of already. The dead letters in DIR/deadletter are a queue of their own,
which is checked by itself.

Exit status, as that of fsck(8): 0 clean, 1 damage was repaired, 4 damage is there, or
left, 8 it could not be checked or repaired, 16 usage.`,
		Example: `  logmule fsck /var/lib/logmule
  logmule fsck /var/lib/logmule --deep             decode every record, too
  logmule fsck /var/lib/logmule --repair           put right what is damaged
  logmule fsck /var/lib/logmule --json | jq .clean`,
		Args: named(cobra.ExactArgs(1)),
	}
	cmd.Flags().BoolVar(&flags.mend, "repair", false, "repair it; the daemon must not run")
	cmd.Flags().BoolVar(&flags.deep, "deep", false, "also decompress and decode every body")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "print the report as one JSON object")
	cmd.Flags().BoolVar(&flags.quiet, "quiet", false, "print nothing when it is clean, and no progress")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if noLetters(args[0]) {
			return printFsck(cmd.OutOrStdout(), args[0], recovery.NothingThere(noLettersNote), flags)
		}
		ctx, stop := untilInterrupt(cmd.Context())
		defer stop()
		bar := newProgress(cmd.ErrOrStderr(), flags.quiet)
		opt := recovery.CheckOptions{Deep: flags.deep, Progress: bar.show, Source: forward.SourceName}
		if flags.mend {
			report, err := repair(ctx, args[0], opt, bar)
			bar.clear()
			if err != nil {
				return err
			}
			err = printRepair(cmd.OutOrStdout(), args[0], report, flags)
			noteDeadLetters(cmd.ErrOrStderr(), args[0], flags.quiet)
			return err
		}
		report, err := recovery.Check(ctx, vfs.OS(), args[0], opt)
		bar.clear()
		var unknown *recovery.UnknownFormatError
		if err != nil && !errors.As(err, &unknown) {
			return fsckFailure(args[0], ctx.Err() != nil, err)
		}
		if err := printFsck(cmd.OutOrStdout(), args[0], report, flags); err != nil {
			return err
		}
		noteDeadLetters(cmd.ErrOrStderr(), args[0], flags.quiet)
		switch {
		case err != nil: // the report is about the other files
			return fsckFailure(args[0], false, err)
		case !report.Clean:
			return &failure{code: exitDamaged}
		}
		return nil
	}
	return cmd
}

// noteDeadLetters says that there is more to check.
func noteDeadLetters(w io.Writer, dir string, quiet bool) {
	if dead := deadLetterDir(dir); dead != "" && !quiet {
		fmt.Fprintf(w, "note: the dead letters are a queue of their own: logmule fsck %s\n", shellWord(dead))
	}
}

func printFsck(w io.Writer, dir string, report recovery.Report, flags fsckOptions) error {
	switch {
	case flags.asJSON:
		text, err := json.Marshal(report)
		if err != nil {
			return &failure{code: exitOperational, err: fmt.Errorf("encode the report: %w", err)}
		}
		return write(w, string(text)+"\n")
	case flags.quiet && report.Clean:
		return nil
	default:
		return write(w, fsckPage(dir, report, flags))
	}
}

// fsckFailure explains why nothing can be said about a directory.
func fsckFailure(dir string, interrupted bool, err error) error {
	f := &failure{code: exitOperational, err: fmt.Errorf("check %s: %w", dir, err), hint: dirHint(err)}
	if interrupted {
		f.err, f.hint = fmt.Errorf("check %s: interrupted before the end", dir), "nothing was changed; run it again"
	}
	return f
}
