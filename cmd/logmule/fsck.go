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

func fsckCommand() *cobra.Command {
	var deep, asJSON, quiet bool
	cmd := &cobra.Command{
		Use:   "fsck DIR",
		Short: "Check every byte of a data directory",
		Long: `Check every checksum of every byte of a data directory. Nothing is changed, and it may be
done while the daemon runs.

A torn tail, which is what a crash leaves behind, is clean; so is damage that the loss
ledger tells of already. The dead letters in DIR/deadletter are a queue of their own,
which is checked by itself.

Exit status, as that of fsck(8): 0 clean, 4 damage was found, 8 it could not be checked,
16 usage.`,
		Example: `  logmule fsck /var/lib/logmule
  logmule fsck /var/lib/logmule --deep             decode every record, too
  logmule fsck /var/lib/logmule --json | jq .clean`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "also decompress and decode every body")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as one JSON object")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "print nothing when it is clean, and no progress")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := untilInterrupt(cmd.Context())
		defer stop()
		bar := newProgress(cmd.ErrOrStderr(), quiet)
		report, err := recovery.Check(ctx, vfs.OS(), args[0], recovery.CheckOptions{Deep: deep, Progress: bar.show, Source: forward.SourceName})
		bar.clear()
		var unknown *recovery.UnknownFormatError
		if err != nil && !errors.As(err, &unknown) {
			return fsckFailure(args[0], ctx.Err() != nil, err)
		}
		if err := printFsck(cmd.OutOrStdout(), args[0], report, deep, asJSON, quiet); err != nil {
			return err
		}
		if dead := deadLetterDir(args[0]); dead != "" && !quiet {
			fmt.Fprintf(cmd.ErrOrStderr(), "note: the dead letters are a queue of their own: logmule fsck %s\n", dead)
		}
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

func printFsck(w io.Writer, dir string, report recovery.Report, deep, asJSON, quiet bool) error {
	switch {
	case asJSON:
		text, err := json.Marshal(report)
		if err != nil {
			return &failure{code: exitOperational, err: fmt.Errorf("encode the report: %w", err)}
		}
		return write(w, string(text)+"\n")
	case quiet && report.Clean:
		return nil
	default:
		return write(w, fsckPage(dir, report, deep))
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
