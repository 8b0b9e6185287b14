package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"logmule/forward"
	"logmule/forward/config"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/recovery"
	"logmule/recovery/hekaqueue"
)

func salvageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "salvage heka DIR",
		Short: "Take records out of the queue of another forwarder",
		Long:  `Take the records out of a queue that another forwarder has left behind, also out of a broken one.`,
		Example: `  logmule salvage heka /var/cache/hekad/output_queue/relay --check
  logmule help salvage heka`,
		RunE: func(*cobra.Command, []string) error {
			return errors.New(`what is to be salvaged is missing; use "salvage heka DIR"`)
		},
		Args: cobra.ArbitraryArgs,
	}
	cmd.AddCommand(salvageHekaCommand())
	return cmd
}

// salvaging are the flags of salvage heka.
type salvaging struct {
	check, all   bool
	export, into string
	config       string
	format       exportFormat
}

func salvageHekaCommand() *cobra.Command {
	s := salvaging{format: exportRaw}
	cmd := &cobra.Command{
		Use:   "heka DIR --check | --export FILE|- | --into DATA_DIR",
		Short: "Take the records out of a queue directory of Heka, also out of a broken one",
		Long: `Take the records out of a queue directory of Heka 0.9, 0.10 or 0.11, also out of a broken one:
base_dir/output_queue/NAME, with files NUMBER.log and checkpoint.txt in it. Nothing in it is
changed. DIR may also be one file of Heka frames.

  --check   say what is there, and do nothing
  --export  write the records to a file that does not exist yet, or to standard output: their
            payloads with a line feed after each (raw), one JSON object a line as cat prints
            them (json), or the frames as they are (heka)
  --into    append them to a data directory whose daemon is stopped, or make one; its outputs
            deliver them then. Each record is put there once, however often this is run and
            however it ends

One rule says what comes out: every record that can be read and that Heka had not delivered.
--all adds those that it had. What is suspect comes out too, and is counted. If checkpoint.txt
is in doubt, nothing counts as delivered: better twice than never.

The report goes to standard error. With --into the queue takes no more than max_size, and
leaves min_free on the disk; these are the defaults, or come from the configuration that -c
names.

Exit status: 0 done, whatever is damaged, 1 not all of it could be done, 2 usage, 130 interrupted.`,
		Example: `  logmule salvage heka /var/cache/hekad/output_queue/relay --check
  logmule salvage heka /var/cache/hekad/output_queue/relay --into /var/lib/logmule
  logmule salvage heka /var/cache/hekad/output_queue/relay --export - --format json | jq .payload`,
		Args: named(cobra.ExactArgs(1)),
	}
	cmd.Flags().BoolVar(&s.check, "check", false, "say what is there")
	cmd.Flags().StringVar(&s.export, "export", "", "write the records to `FILE`, - for standard output")
	cmd.Flags().StringVar(&s.into, "into", "", "append the records to the data directory `DATA_DIR`")
	cmd.Flags().BoolVar(&s.all, "all", false, "also what Heka has delivered")
	cmd.Flags().Var(&s.format, "format", "of --export: raw, json or heka")
	cmd.Flags().StringVarP(&s.config, "config", "c", "", "configuration `FILE` (TOML), for the limits of the queue")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := s.usage(cmd.Flags().Changed); err != nil {
			return err
		}
		ctx, stop := untilInterrupt(cmd.Context())
		defer stop()
		return s.run(ctx, args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// usage judges the flags.
func (s *salvaging) usage(given func(flag string) bool) error {
	ways := 0
	for _, way := range []bool{s.check, given("export"), given("into")} {
		if way {
			ways++
		}
	}
	switch {
	case ways == 0:
		return errors.New("what to do is missing; use --check, --export FILE or --into DATA_DIR")
	case ways > 1:
		return errors.New("more than one thing to do; use one of --check, --export and --into")
	case given("export") && s.export == "":
		return errors.New("--export is empty; name a file, or - for standard output")
	case given("into") && s.into == "":
		return errors.New("--into is empty; name the data directory that takes the records")
	case given("format") && !given("export"):
		return errors.New("--format says how to export; use it with --export")
	case s.config != "" && !given("into"):
		return errors.New("-c is about the queue that takes the records; use it with --into")
	}
	return nil
}

func (s *salvaging) run(ctx context.Context, dir string, stdout, stderr io.Writer) error {
	q, err := hekaqueue.Open(ctx, vfs.OS(), dir)
	if err != nil {
		return s.failure(ctx, dir, s.noQueue(dir, err))
	}
	if who := writerOf(dir); who != "" {
		if !s.check {
			err := fmt.Errorf("salvage %s: %s writes there", dir, who)
			return &failure{code: exitFailed, err: err, hint: "stop hekad first: it would deliver the same records, and delete files meanwhile; --check may be done now"}
		}
		fmt.Fprintf(stderr, "note: %s writes there; the end of what it writes may look torn now\n", who)
	}
	page := salvagePage{w: stderr, q: q, bar: newProgress(stderr, false)}
	page.begin()
	err = s.take(ctx, q, &page, stdout)
	page.bar.clear()
	return s.failure(ctx, dir, err)
}

// take reads the queue and does with its records what it is told.
func (s *salvaging) take(ctx context.Context, q *hekaqueue.Queue, page *salvagePage, stdout io.Writer) error {
	tell := hekaqueue.Visitor{Skipped: page.skipped, File: page.file, Progress: page.bar.show}
	var found hekaqueue.Report
	var said string
	var err error
	switch {
	case s.check:
		found, err = q.Scan(ctx, tell)
		said = s.nextStep(q.Path, &found)
	case s.into != "":
		var done forward.Salvaged
		if done, found, err = s.put(ctx, q, tell, page.w); err == nil || done.Records > 0 {
			said = salvagedLine(s.into, done)
		}
		if err == nil && done.TooLarge > 0 {
			err = fmt.Errorf("%s could not be put there, because a queue takes no record of more than %d bytes, and the largest has %d; take them with --export",
				count(done.TooLarge, "record"), segment.MaxRecord, done.Largest)
		}
	default:
		e := exporter{q: q, all: s.all, format: s.format}
		if found, err = e.export(ctx, tell, s.export, stdout); err == nil {
			said = e.line(s.export)
		}
	}
	page.bar.clear()
	if err == nil || found.Files > 0 {
		page.end(&found)
	}
	fmt.Fprint(page.w, said)
	if err == nil && len(found.Failed) > 0 {
		err = fmt.Errorf("%s could not be opened: %w", count(uint64(len(found.Failed)), "file"), errors.Join(found.Failed...))
	}
	return err
}

// put appends the records to a data directory.
func (s *salvaging) put(ctx context.Context, q *hekaqueue.Queue, tell hekaqueue.Visitor, stderr io.Writer) (forward.Salvaged, hekaqueue.Report, error) {
	cfg := config.QuickStart(s.into)
	if s.config != "" {
		var err error
		if cfg, err = config.Load(s.config); err != nil {
			fmt.Fprintln(stderr, err)
			return forward.Salvaged{}, hekaqueue.Report{}, &failure{code: exitFailed}
		}
	}
	if err := ownedByUs(s.into); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return forward.Salvaged{}, hekaqueue.Report{}, err
	}
	return forward.Salvage(ctx, forward.SalvageOptions{
		From: q, All: s.all, Tell: tell, Into: s.into, Config: cfg, Holder: holder("salvage"), Log: warnings(stderr),
	})
}

func (s *salvaging) failure(ctx context.Context, dir string, err error) error {
	var f *failure
	switch {
	case err == nil || brokenPipe(err):
		return nil
	case errors.As(err, &f):
		return err
	case ctx.Err() != nil:
		hint := "the queue is as it was; run it again"
		if s.into != "" {
			hint = "run it again: it goes on where it was"
		}
		return &failure{code: exitInterrupted, err: fmt.Errorf("salvage %s: interrupted before the end", dir), hint: hint}
	case s.into != "":
		return &failure{code: exitFailed, err: fmt.Errorf("salvage %s: %w", dir, err), hint: offlineHint(err)}
	case errors.Is(err, fs.ErrPermission):
		return &failure{code: exitFailed, err: fmt.Errorf("salvage %s: %w", dir, err), hint: "run it as the user that hekad ran as, or as root"}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &failure{code: exitFailed, err: fmt.Errorf("salvage %s: %w", dir, err), hint: "free some space there, or export to a place that has it; the queue is as it was"}
	default:
		return &failure{code: exitFailed, err: fmt.Errorf("salvage %s: %w", dir, err)}
	}
}

// noQueue explains why there is nothing to salvage.
func (s *salvaging) noQueue(dir string, err error) error {
	var nested *hekaqueue.NestedError
	switch {
	case errors.As(err, &nested):
		var b strings.Builder
		for _, path := range nested.Queues {
			fmt.Fprintf(&b, "\n  logmule salvage heka %s --check", clean(path))
		}
		return &failure{code: exitFailed, err: err, hint: "each queue has a directory of its own:" + b.String()}
	case errors.Is(err, hekaqueue.ErrNoQueue) && recovery.IsDataDir(vfs.OS(), dir) == nil:
		return &failure{code: exitFailed, err: fmt.Errorf("%s is a data directory of logmule, not a queue of Heka", dir),
			hint: fmt.Sprintf("\"logmule fsck %s\" checks it, \"logmule cat %s\" prints its records", shellWord(dir), shellWord(dir))}
	case errors.Is(err, fs.ErrPermission) && s.into != "":
		return &failure{code: exitFailed, err: fmt.Errorf("salvage %s: %w", dir, err),
			hint: "the user that the daemon runs as has to read it: copy the directory, under the same name, and give the copy to that user (chown -R)"}
	case errors.Is(err, hekaqueue.ErrNoQueue):
		return &failure{code: exitFailed, err: err, hint: "a queue of Heka is a directory base_dir/output_queue/NAME, such as /var/cache/hekad/output_queue/relay"}
	default:
		return err
	}
}

// nextStep is what to type after --check.
func (s *salvaging) nextStep(dir string, found *hekaqueue.Report) string {
	if found.Waiting.Records == 0 && (found.Delivered.Records == 0 || !s.all) {
		return "\nWhat to do: nothing waits here to be salvaged.\n"
	}
	all := ""
	if s.all {
		all = " --all"
	}
	dir = clean(filepath.Clean(dir))
	return fmt.Sprintf("\nWhat to do: stop hekad if it runs, then\n"+
		"  logmule salvage heka %s%s --into DATA_DIR    append them to the queue of a stopped logmule, which then delivers them\n"+
		"  logmule salvage heka %s%s --export FILE      or write their payloads to a file\n"+
		"Nothing in %s is changed by either.\n", dir, all, dir, all, dir)
}
