package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logmule/queue/vfs"
	"logmule/recovery"
)

func quarantineDropCommand() *cobra.Command {
	var all, yes bool
	var older time.Duration
	cmd := &cobra.Command{
		Use:   "drop DIR NAME...|--all|--older DURATION",
		Short: "Delete files in quarantine for good",
		Long: `Delete files in quarantine for good, which gives their room back to the queue: those that are
named, all, or all that are there for longer than a time. On a terminal it asks first; elsewhere
--yes has to be said. It may be done while the daemon runs. What somebody else put there, and
what is in a directory, stays.

Exit status: 0 dropped, or nothing to drop, 8 not all of it, 16 usage.`,
		Example: `  logmule quarantine drop /var/lib/logmule 00000000000000000001-56326eaa3a0e49c0.seg.damaged
  logmule quarantine drop /var/lib/logmule --older 720h --yes`,
		Args: named(cobra.MinimumNArgs(1)),
	}
	cmd.Flags().BoolVar(&all, "all", false, "everything that is in quarantine")
	cmd.Flags().DurationVar(&older, "older", 0, "what is there for longer than this `DURATION`, such as 720h")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, names := args[0], args[1:]
		byAge := cmd.Flags().Changed("older")
		switch {
		case len(names) == 0 && !all && !byAge:
			return errors.New("say what to drop: names, --all or --older DURATION")
		case len(names) > 0 && (all || byAge) || all && byAge:
			return errors.New("names, --all and --older exclude each other; use one of them")
		case older < 0:
			return fmt.Errorf("--older %v is below zero; say how long ago, such as 720h", older)
		case !yes && !terminal(cmd.InOrStdin()):
			return errUnasked
		}
		kept, err := recovery.ListQuarantine(vfs.OS(), dir)
		if err == nil && len(names) == 0 {
			kept = withoutStrangers(cmd.ErrOrStderr(), kept)
		}
		if err == nil {
			kept, err = chosen(kept, names, time.Now().Add(-older))
		}
		if err != nil {
			return quarantineFailure("drop", dir, err)
		}
		if len(kept) == 0 {
			return write(cmd.OutOrStdout(), "nothing to drop\n")
		}
		if !yes {
			agreed, err := ask(cmd.InOrStdin(), cmd.ErrOrStderr(), kept)
			if err != nil {
				return err
			}
			if !agreed {
				return write(cmd.OutOrStdout(), "nothing was dropped\n")
			}
		}
		dropped, err := recovery.DropQuarantined(vfs.OS(), dir, kept)
		if len(dropped) > 0 || err == nil {
			if werr := write(cmd.OutOrStdout(), fmt.Sprintf("dropped %s, %s\n", count(uint64(len(dropped)), "file"), size(roomOf(dropped)))); werr != nil {
				return werr
			}
		}
		if err != nil {
			return quarantineFailure("drop", dir, err)
		}
		return nil
	}
	return cmd
}

// withoutStrangers leaves out what somebody else put there, and says so.
func withoutStrangers(w io.Writer, all []recovery.Kept) []recovery.Kept {
	ours := slices.DeleteFunc(slices.Clone(all), func(k recovery.Kept) bool { return k.Stranger })
	if n := len(all) - len(ours); n > 0 {
		fmt.Fprintf(w, "note: %s in quarantine/ put there by someone else, left alone\n", count(uint64(n), "file"))
	}
	return ours
}

// chosen are the files with these names; without any, those that are there since before a time.
func chosen(all []recovery.Kept, names []string, before time.Time) ([]recovery.Kept, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(all, func(k recovery.Kept) bool { return k.Since.After(before) }), nil
	}
	var found []recovery.Kept
	for _, name := range names {
		i := slices.IndexFunc(all, func(k recovery.Kept) bool { return k.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no %q in quarantine, and nothing was dropped; \"logmule quarantine list\" shows the names", name)
		}
		found = append(found, all[i])
	}
	return found, nil
}

// errUnasked says that nobody can be asked.
var errUnasked = errors.New("nothing was dropped: there is no terminal to ask on; add --yes")

// ask asks a person whether these files are to go.
func ask(in io.Reader, out io.Writer, files []recovery.Kept) (bool, error) {
	safe := 0
	for _, k := range files {
		if k.LosesNothing {
			safe++
		}
	}
	fmt.Fprintf(out, "%s, %s, will be deleted for good: ", count(uint64(len(files)), "file"), size(roomOf(files)))
	switch {
	case safe == len(files):
		fmt.Fprintf(out, "nothing is lost with them\n")
	case safe == 0:
		fmt.Fprintf(out, "there is no other copy of these bytes\n")
	default:
		fmt.Fprintf(out, "of %d of them there is no other copy\n", len(files)-safe)
	}
	fmt.Fprint(out, "Drop? [y/N] ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return false, errUnasked
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

func roomOf(files []recovery.Kept) (n int64) {
	for _, k := range files {
		n += k.Room
	}
	return n
}
