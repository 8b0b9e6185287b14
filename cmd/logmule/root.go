package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"logmule/queue/vfs"
)

// newRoot builds the command line.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "logmule",
		Short: "A durable log forwarder",
		Long: `logmule takes log records from inputs, stores them in a checksummed queue on disk, and
delivers them to outputs.

A record is acknowledged when it is on the disk; then every output delivers it, whatever
is killed or unplugged.`,
		Example: `  logmule run                           try it, without a configuration
  logmule run -c /etc/logmule.toml      run the daemon in the foreground
  logmule check -c /etc/logmule.toml    validate a configuration
  logmule fsck /var/lib/logmule         check every byte of a data directory`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			what := fmt.Sprintf("unknown command %q", args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				what += fmt.Sprintf(" (did you mean %q?)", near[0])
			}
			return errors.New(what)
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(runCommand(), checkCommand(), fsckCommand(), statCommand(), catCommand(), rewindCommand(), replayCommand(), quarantineCommand(), salvageCommand(), versionCommand())
	return root
}

// execute runs the command line and returns the exit status.
func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return exitOK
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{code: exitUsage, err: err, hint: fmt.Sprintf("%q shows the usage", cmd.CommandPath()+" --help")}
	}
	if cmd.Name() == "fsck" || cmd.Name() == "quarantine" || cmd.HasParent() && cmd.Parent().Name() == "quarantine" {
		f.code = likeFsck(f)
	}
	f.print(stderr)
	return f.code
}

// The exit statuses. fsck and quarantine have those of fsck(8).
const (
	exitOK          = 0
	exitFailed      = 1   // all but these two: it could not be done
	exitUsage       = 2   // all but these two: the command line is wrong
	exitCorrected   = 1   // fsck: errors are corrected
	exitDamaged     = 4   // fsck: errors are left uncorrected
	exitOperational = 8   // fsck: it could not be checked; quarantine: it could not be done
	exitFsckUsage   = 16  // fsck, quarantine: the command line is wrong
	exitInterrupted = 130 // stat, cat, replay, salvage: ended by Ctrl-C
)

// likeFsck is the exit status of fsck and quarantine where other commands have that of f: 1 says there that all is repaired.
func likeFsck(f *failure) int {
	switch {
	case f.code == exitUsage:
		return exitFsckUsage
	case f.code == exitFailed && f.err != nil:
		return exitOperational
	}
	return f.code
}

// failure is an error with the exit status it leads to. Every other error of a command is one of its usage.
type failure struct {
	code int
	err  error  // nil: everything is said already
	hint string // what to do; empty where the error says it after its last "; "
}

func (f *failure) Error() string {
	if f.err == nil {
		return "failed"
	}
	return f.err.Error()
}

// print writes "logmule: what" and "hint: next step".
func (f *failure) print(w io.Writer) {
	if f.err == nil {
		return
	}
	what, hint := f.err.Error(), f.hint
	var locked *vfs.LockedError
	if hint == "" && errors.As(f.err, &locked) {
		hint = "one process may use a data directory: stop that one, or use another data_dir"
	}
	if at := strings.LastIndex(what, "; "); hint == "" && at >= 0 && !strings.Contains(what, "\n") {
		what, hint = what[:at], what[at+2:]
	}
	for line := range strings.SplitSeq(what, "\n") {
		fmt.Fprintf(w, "logmule: %s\n", clean(line))
	}
	lead := "hint: "
	for line := range strings.SplitSeq(hint, "\n") {
		if hint != "" {
			fmt.Fprintf(w, "%s%s\n", lead, clean(line))
		}
		lead = ""
	}
}

// dirHint is the next step where a data directory cannot be read and the error does not say it.
func dirHint(err error) string {
	switch {
	case errors.Is(err, syscall.EROFS):
		return "its file system is read-only: mount it for writing"
	case errors.Is(err, fs.ErrPermission):
		return "run it as the user that the daemon runs as, or as root"
	case strings.Contains(err.Error(), "; "):
		return ""
	default:
		return "DIR is the data_dir of the configuration, such as /var/lib/logmule"
	}
}

// untilInterrupt is a context that ends with Ctrl-C or SIGTERM. A second one ends the process at once.
func untilInterrupt(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// brokenPipe tells whether the reader of an output has gone, which is how it says that it has seen enough.
func brokenPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE)
}

// write writes text to the standard output of a command.
func write(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil && !brokenPipe(err) {
		return &failure{code: exitFailed, err: fmt.Errorf("write to standard output: %w", err)}
	}
	return nil
}
