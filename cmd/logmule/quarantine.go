package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"logmule/queue/vfs"
	"logmule/recovery"
)

func quarantineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quarantine list|show|export|drop DIR [NAME...]",
		Short: "Look at damaged bytes that were set aside, and drop them",
		Long: `Look at what is in DIR/quarantine, the damaged bytes of a data directory: a copy of each range
that could not be read as records, segments as they were before a healed or repaired one took
their place, and whatever stood where a file of the queue belongs. No record is delivered from
there; it is kept for whoever wants to know what happened, or to get at the bytes.

What is there counts in max_size. Segments that were healed, which lose nothing, go by
themselves when they take more than an eighth of it, or when the queue is full; all else
stays until it is dropped here.

Exit status: 0 done, 8 it could not be done, 16 usage.`,
		Example: `  logmule quarantine list /var/lib/logmule
  logmule quarantine drop /var/lib/logmule --older 720h`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("say what to do: list, show, export or drop")
			}
			return fmt.Errorf("unknown command %q; it is list, show, export or drop", args[0])
		},
	}
	cmd.AddCommand(quarantineListCommand(), quarantineShowCommand(), quarantineExportCommand(), quarantineDropCommand())
	return cmd
}

func quarantineListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list DIR",
		Short: "List what is in quarantine, oldest first, and whether it can go",
		Long: `List what is in DIR/quarantine, oldest first: since when, from which segment and bytes, why,
the sequences that were lost with it, and whether something sound has taken its place, so that
dropping it loses nothing. Nothing is changed, and it may be done while the daemon runs.

Exit status: 0 listed, 8 it cannot be read, 16 usage.`,
		Example: `  logmule quarantine list /var/lib/logmule
  logmule quarantine list /var/lib/logmule --json | jq '.files[] | select(.loses_nothing) | .name'`,
		Args: named(cobra.ExactArgs(1)),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, err := recovery.ListQuarantine(vfs.OS(), args[0])
		if err != nil {
			return quarantineFailure("list", args[0], err)
		}
		if !asJSON {
			return write(cmd.OutOrStdout(), quarantinePage(args[0], all))
		}
		text, err := json.Marshal(quarantineReport(all))
		if err != nil {
			return &failure{code: exitOperational, err: fmt.Errorf("encode the list: %w", err)}
		}
		return write(cmd.OutOrStdout(), string(text)+"\n")
	}
	return cmd
}

// quarantineObject is what list --json prints.
type quarantineObject struct {
	Version int             `json:"version"` // of this object: 1
	Files   []recovery.Kept `json:"files"`
	Room    int64           `json:"room"` // bytes that all of them take
}

func quarantineReport(all []recovery.Kept) quarantineObject {
	o := quarantineObject{Version: 1, Files: append([]recovery.Kept{}, all...)}
	for _, k := range all {
		o.Room += k.Room
	}
	return o
}

func quarantineShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show DIR NAME",
		Short: "Show what can be read in a file in quarantine",
		Long: `Show a file in quarantine: what its header says, which frames and records in it can still be
read, which bytes are bad, and those around the first bad place.

Exit status: 0 shown, 8 it cannot be read, 16 usage.`,
		Example: `  logmule quarantine show /var/lib/logmule 00000000000000000001-56326eaa3a0e49c0.seg.damaged`,
		Args:    named(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := recovery.ShowQuarantined(vfs.OS(), args[0], args[1])
			if err != nil {
				return quarantineFailure("show", args[0], err)
			}
			return write(cmd.OutOrStdout(), keptPage(args[0], c))
		},
	}
}

func quarantineExportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export DIR NAME FILE|-",
		Short: "Copy a file in quarantine, byte for byte",
		Long: `Copy a file in quarantine, byte for byte, to FILE, which must not be there, or to the standard
output. It stays in quarantine.

Exit status: 0 copied, 8 it could not be done, 16 usage.`,
		Example: `  logmule quarantine export /var/lib/logmule 00000000000000000001-56326eaa3a0e49c0.seg-4096-512.bin - | hexdump -C`,
		Args:    named(cobra.ExactArgs(3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exportKept(cmd.OutOrStdout(), args[0], args[1], args[2]); err != nil {
				return quarantineFailure("export", args[0], err)
			}
			return nil
		},
	}
}

func exportKept(stdout io.Writer, dir, name, to string) error {
	k, err := recovery.FindQuarantined(vfs.OS(), dir, name)
	if err != nil {
		return err
	}
	f, err := recovery.OpenQuarantined(vfs.OS(), dir, k)
	if err != nil {
		return fmt.Errorf("%w; only regular files can be exported", err)
	}
	defer f.Close() // it was only read
	from := io.NewSectionReader(f, 0, k.Size)
	if to == "-" {
		if _, err := io.Copy(stdout, from); err != nil && !brokenPipe(err) {
			return fmt.Errorf("write to standard output: %w", err)
		}
		return nil
	}
	if err := copyToNew(to, from); err != nil {
		return &failure{code: exitOperational, err: fmt.Errorf("export: %w", err), hint: targetHint(err)}
	}
	return nil
}

// copyToNew writes a file that is not there yet.
func copyToNew(to string, from io.Reader) error {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already", to)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

// targetHint is the next step where a file cannot be written.
func targetHint(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "name a FILE in a directory that is there"
	case errors.Is(err, os.ErrPermission):
		return "name a FILE in a directory that this user may write to"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "name a FILE on a disk with more room"
	}
	return "name another file"
}

// quarantineFailure explains why nothing can be done with a quarantine.
func quarantineFailure(what, dir string, err error) error {
	hint := dirHint(err)
	var target *failure
	if errors.As(err, &target) {
		return target
	}
	var none *recovery.NotKeptError
	if errors.As(err, &none) {
		hint = fmt.Sprintf("%q shows the names", "logmule quarantine list "+shellWord(dir))
	}
	return &failure{code: exitOperational, err: fmt.Errorf("%s: %w", what, err), hint: hint}
}
