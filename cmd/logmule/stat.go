package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logmule/forward"
	"logmule/queue/vfs"
	"logmule/recovery"
)

func statCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stat DIR",
		Short: "Show what is in a data directory, and how far each output is",
		Long: `Show the segments and records of a data directory, the backlog and lag of every output,
and the gaps. Nothing is changed, and it may be done while the daemon runs; what it says
of outputs is then about a second old. Dead letters, which are a queue of their own in
DIR/deadletter, are counted.

Damage is not looked for: that is what "logmule fsck" does.

Exit status: 0 shown, 1 it cannot be read, 2 usage.`,
		Example: `  logmule stat /var/lib/logmule
  logmule stat /var/lib/logmule --json | jq '.outputs[].backlog_records'`,
		Args: named(cobra.ExactArgs(1)),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := survey(args[0])
		if err != nil {
			return &failure{code: exitFailed, err: fmt.Errorf("look at %s: %w", args[0], err), hint: dirHint(err)}
		}
		dead, err := statDeadLetters(args[0])
		if err != nil {
			s.Notes = append(s.Notes, err.Error())
		}
		if !asJSON {
			return write(cmd.OutOrStdout(), statPage(args[0], s, dead, time.Now()))
		}
		text, err := json.Marshal(statReport(s, dead, time.Now()))
		if err != nil {
			return &failure{code: exitFailed, err: fmt.Errorf("encode what is in %s: %w", args[0], err)}
		}
		return write(cmd.OutOrStdout(), string(text)+"\n")
	}
	return cmd
}

// survey looks at a data directory, or at the place of dead letters where there are none yet.
func survey(dir string) (recovery.Survey, error) {
	if noLetters(dir) {
		return recovery.Survey{
			Segments: []recovery.SurveyedSegment{}, Outputs: []recovery.SurveyedOutput{}, Gaps: []recovery.Gap{},
			ByCause: []recovery.CauseLosses{}, Notes: []string{noLettersNote},
		}, nil
	}
	return recovery.TakeSurvey(vfs.OS(), dir)
}

// statObject is what stat --json prints: the survey, with the lag of the outputs.
type statObject struct {
	recovery.Survey
	Outputs     []statOutput `json:"outputs"`
	DeadLetters *deadLetters `json:"dead_letters,omitempty"` // nil: there are none
}

// deadLetters is what is in the queue of dead letters of a data directory.
type deadLetters struct {
	dir      string
	Records  uint64 `json:"records"`
	Replayed uint64 `json:"replayed"`     // of these; the others wait for "logmule replay"
	Lost     uint64 `json:"lost_records"` // of all times: dropped as the oldest, or damaged
}

type statOutput struct {
	recovery.SurveyedOutput
	LagSeconds float64 `json:"lag_seconds"` // age of the oldest record that is not done; 0: none
}

// deadLetterDir is the directory of the dead letters of a data directory, empty where it has none.
func deadLetterDir(dir string) string {
	dead := filepath.Join(dir, forward.DeadLetterDir)
	if info, err := os.Stat(dead); err != nil || !info.IsDir() || noLetters(dead) {
		return ""
	}
	return dead
}

// statDeadLetters counts the dead letters of a data directory, nil where there are none.
func statDeadLetters(dir string) (*deadLetters, error) {
	dead := deadLetterDir(dir)
	if dead == "" {
		return nil, nil
	}
	s, err := recovery.TakeSurvey(vfs.OS(), dead)
	if err != nil {
		return nil, fmt.Errorf("the dead letters cannot be counted: %w", err)
	}
	if s.Records == 0 && s.LostRecords == 0 {
		return nil, nil
	}
	d := &deadLetters{dir: dead, Records: s.Records, Lost: s.LostRecords}
	for _, o := range s.Outputs {
		if o.Name == forward.ReplayName {
			d.Replayed = s.Records - min(o.BacklogRecords, s.Records)
		}
	}
	return d, nil
}

func statReport(s recovery.Survey, dead *deadLetters, now time.Time) statObject {
	o := statObject{Survey: s, Outputs: []statOutput{}, DeadLetters: dead}
	for _, out := range s.Outputs {
		o.Outputs = append(o.Outputs, statOutput{out, lag(out, now).Seconds()})
	}
	return o
}

// lag is the age of the oldest record that an output has not done.
func lag(o recovery.SurveyedOutput, now time.Time) time.Duration {
	if o.Oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(o.Oldest))
}

func statPage(dir string, s recovery.Survey, dead *deadLetters, now time.Time) string {
	var b strings.Builder
	state := "no daemon runs"
	if s.Running {
		state = "a daemon runs"
	}
	fmt.Fprintf(&b, "%s: queue %s, opened %s, %s\n", clean(dir), dash(s.Queue), count(s.Starts, "time"), state)
	fmt.Fprintf(&b, "%s in %s, %s", count(s.Records, "record"), count(uint64(len(s.Segments)), "segment"), size(s.Bytes))
	if s.Records > 0 {
		fmt.Fprintf(&b, ", sequences %d to %d", s.FirstSequence, s.LastSequence)
	}
	b.WriteString("\n\n")
	if len(s.Segments) > 0 {
		table(&b, "SEGMENT\tFIRST\tLAST\tRECORDS\tSIZE\tSTATE\tOLDEST RECORD\tNEWEST RECORD", func(row func(...any)) {
			for _, g := range s.Segments {
				row(g.Name, number(g.First, g.Records), number(g.Last, g.Records), g.Records, size(g.Bytes), sealed(g.Sealed), moment(g.MinTime), moment(g.MaxTime))
			}
		})
		b.WriteString("\n")
	}
	if len(s.Outputs) == 0 {
		b.WriteString("no output has read from it\n")
	} else {
		table(&b, "OUTPUT\tPOSITION\tBACKLOG\tSIZE\tLAG", func(row func(...any)) {
			for _, o := range s.Outputs {
				row(clean(o.Name), o.Position, o.BacklogRecords, size(o.BacklogBytes), lag(o, now).Round(time.Second/10))
			}
		})
	}
	if len(s.Gaps) > 0 {
		b.WriteString("\n")
		table(&b, "LOST FROM\tTO\tRECORDS", func(row func(...any)) {
			for _, g := range s.Gaps {
				row(g.First, g.Last, g.Last-g.First+1)
			}
		})
	}
	switch {
	case s.LostRecords > 0:
		fmt.Fprintf(&b, "\nthe loss ledger, losses.jsonl, tells of %s in %s\n", count(s.LostRecords, "record"), count(uint64(s.Losses), "line")+besides(s.ByCause))
	case s.Losses > 0:
		fmt.Fprintf(&b, "\nthe loss ledger, losses.jsonl, has %s, and no record is lost to all: outputs gave some up, or bytes without records were damaged\n", count(uint64(s.Losses), "line"))
	}
	for _, c := range s.ByCause {
		paragraph(&b, "    ", "  - "+clean(c.Line()))
	}
	if s.Quarantine > 0 {
		fmt.Fprintf(&b, "\nquarantine: %s, %s; \"logmule quarantine list %s\" explains it\n", count(uint64(s.Quarantine), "file"), size(s.Quarantined), shellWord(dir))
	}
	if dead != nil {
		fmt.Fprintf(&b, "\n%s in %s, %d replayed; \"logmule cat\" shows why, \"logmule replay\" puts them back\n", count(dead.Records, "dead letter"), clean(dead.dir), dead.Replayed)
		if dead.Lost > 0 {
			fmt.Fprintf(&b, "%s lost, says the loss ledger there, losses.jsonl\n", count(dead.Lost, "dead letter"))
		}
	}
	for i, note := range s.Notes {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "note: %s\n", clean(note))
	}
	return b.String()
}

// besides says what the sum of lost records leaves out.
func besides(causes []recovery.CauseLosses) string {
	if slices.ContainsFunc(causes, recovery.CauseLosses.GivenUp) {
		return ", besides those that single outputs gave up or skipped"
	}
	return ""
}

// number is a sequence of a segment, a dash where the segment holds no records.
func number(sequence, records uint64) string {
	if records == 0 {
		return "-"
	}
	return fmt.Sprint(sequence)
}

func sealed(yes bool) string {
	if yes {
		return "sealed"
	}
	return "open"
}
