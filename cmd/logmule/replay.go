package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"logmule/forward"
	"logmule/forward/config"
)

func replayCommand() *cobra.Command {
	var into, output, file string
	cmd := &cobra.Command{
		Use:   "replay DIR/deadletter --into DIR [--output NAME] [-c FILE]",
		Short: "Put dead letters back into the queue",
		Long: `Put the records that destinations have refused back into the queue, while no daemon runs,
so that the next start delivers them once more: each to the output that refused it, or all
of them to the one that --output names, and to no other. They keep their order, their bytes
and their attributes, and get new sequences.

Each dead letter is put back once, however often this is run and however it ends; those that
are put back are deleted from DIR/deadletter. "logmule cat DIR/deadletter" shows what is
there and why. One that is refused again becomes a dead letter again.

The queue takes no more than max_size, and leaves min_free on the disk; these are the
defaults, or come from the configuration that -c names.

Exit status: 0 put back, or nothing to do, 1 not all of them, 2 usage, 130 interrupted.`,
		Example: `  logmule cat /var/lib/logmule/deadletter
  logmule replay /var/lib/logmule/deadletter --into /var/lib/logmule
  logmule replay /var/lib/logmule/deadletter --into /var/lib/logmule --output archive`,
		Args: named(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringVar(&into, "into", "", "the data directory `DIR` that takes them")
	cmd.Flags().StringVar(&output, "output", "", "the output `NAME` that gets them all, instead of those that refused them")
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration `FILE` (TOML), for the limits of the queue")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if into == "" {
			return errors.New("--into is missing; name the data directory that takes the records")
		}
		cfg := config.QuickStart(into)
		if file != "" {
			var err error
			if cfg, err = config.Load(file); err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), err)
				return &failure{code: exitFailed}
			}
		}
		if err := replayable(args[0], into); err != nil {
			return &failure{code: exitFailed, err: err, hint: dirHint(err)}
		}
		ctx, stop := untilInterrupt(cmd.Context())
		defer stop()
		done, err := forward.Replay(ctx, forward.ReplayOptions{
			From: args[0], Into: into, Output: output, Config: cfg, Holder: holder("replay"), Log: warnings(cmd.ErrOrStderr()),
		})
		if err == nil || done.Records > 0 {
			if werr := write(cmd.OutOrStdout(), replayedLine(done)); err == nil {
				err = werr
			}
		}
		return replayFailure(ctx, args[0], done, err)
	}
	return cmd
}

// replayable looks at the two directories before either is touched.
func replayable(from, into string) error {
	letters, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there; the dead letters of a data directory are in its %s, which is made with the first one", from, forward.DeadLetterDir)
	}
	if err != nil {
		return err
	}
	if queue, err := os.Stat(into); err == nil && os.SameFile(letters, queue) {
		return fmt.Errorf("%s cannot be put back into itself; the dead letters of a data directory are in its %s", from, forward.DeadLetterDir)
	}
	return errors.Join(ownedByUs(from), ownedByUs(into))
}

func replayFailure(ctx context.Context, from string, done forward.Replayed, err error) error {
	var f *failure
	switch {
	case err == nil && done.Lost > 0: // as its line has said
		return &failure{code: exitFailed}
	case err == nil || errors.As(err, &f):
		return err
	case ctx.Err() != nil:
		return &failure{code: exitInterrupted, err: fmt.Errorf("replay %s: interrupted before the end", from), hint: "run it again: it goes on where it was"}
	default:
		return &failure{code: exitFailed, err: fmt.Errorf("replay %s: %w", from, err), hint: offlineHint(err)}
	}
}

// replayedLine says in one line what was put back.
func replayedLine(r forward.Replayed) string {
	var b strings.Builder
	b.WriteString(count(r.Records, "record") + " put back")
	switch {
	case r.Records > 0:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(r.Outputs)) {
			parts = append(parts, fmt.Sprintf("%d for %s", r.Outputs[name], clean(name)))
		}
		fmt.Fprintf(&b, ": %s; ", strings.Join(parts, ", "))
		if r.First == r.Last {
			fmt.Fprintf(&b, "its sequence is %d", r.First)
		} else {
			fmt.Fprintf(&b, "their sequences are %d to %d", r.First, r.Last)
		}
	case r.All == 0:
		b.WriteString("; there are no dead letters")
	case r.Before == 0 && r.Lost == 0:
		fmt.Fprintf(&b, "; all dead letters, up to number %d, were replayed before", r.All)
	}
	if r.Before > 0 {
		fmt.Fprintf(&b, "; %s had been put back by a replay that was interrupted", count(r.Before, "record"))
	}
	if r.Lost > 0 {
		fmt.Fprintf(&b, "; %s cannot be read any more, see losses.jsonl there", count(r.Lost, "dead letter"))
	}
	b.WriteString("\n")
	return b.String()
}
