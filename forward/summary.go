package forward

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"logmule/forward/config"
)

// Summary is the state in one line.
func (e *Engine) Summary() string {
	s := e.status()
	var backlog uint64
	for _, o := range s.Outputs {
		backlog = max(backlog, o.BacklogRecords)
	}
	line := fmt.Sprintf("%s, %s, %s, backlog %d records", s.State, number(len(s.Inputs), "input"), number(len(s.Outputs), "output"), backlog)
	if s.Reason != "" && s.State != engineStopping {
		line += ": " + s.Reason
	}
	return line
}

// String is the state as a page for a person.
func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "logmule %s, process %d, up %v: %s\n", s.Version, s.PID, seconds(s.UptimeSeconds), s.State)
	for _, reason := range []string{s.Reason, s.Panics} {
		if reason != "" {
			fmt.Fprintf(&b, "  %s\n", reason)
		}
	}
	s.Config.write(&b)
	if len(s.Leaving) > 0 {
		fmt.Fprintf(&b, "  a reload has ended these, and they have not stopped yet: %s\n", strings.Join(s.Leaving, ", "))
	}
	s.Queue.write(&b)
	s.DeadLetters.write(&b)
	if len(s.Inputs) > 0 {
		fmt.Fprintln(&b)
		table(&b, "INPUT\tTYPE\tSTATE\tADDRESS\tRECORDS\tBYTES\tCONNECTIONS", func(row func(...any)) {
			for _, in := range s.Inputs {
				row(in.Name, in.Type, in.State, dash(in.Address), in.Records, in.Bytes, in.Connections)
			}
		})
	}
	if len(s.Outputs) > 0 {
		fmt.Fprintln(&b)
		table(&b, "OUTPUT\tTYPE\tSTATE\tBACKLOG\tSIZE\tLAG\tRECORDS\tRETRIES\tDEAD LETTERS\tLOST", func(row func(...any)) {
			for _, o := range s.Outputs {
				row(o.Name, o.Type, o.State, o.BacklogRecords, size(o.BacklogBytes), seconds(o.LagSeconds), o.Records, o.Retries, o.DeadLetters, o.Lost)
			}
		})
	}
	for _, in := range s.Inputs {
		in.writeError(&b, "input")
	}
	for _, o := range s.Outputs {
		o.writeError(&b, "output")
	}
	return b.String()
}

func (c *ConfigStatus) write(b *strings.Builder) {
	fmt.Fprintf(b, "  configuration %s, read at %s\n", dash(c.File), c.LoadedAt.UTC().Format(time.DateTime))
	if c.Error != "" {
		fmt.Fprintf(b, "  the last reload changed nothing:\n    %s\n", strings.ReplaceAll(c.Error, "\n", "\n    "))
	}
}

func (q *QueueStatus) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nqueue %s: %s, %v of %v, records %d to %d\n", q.Dir, number(q.Segments, "segment"), size(q.Bytes), size(q.MaxBytes), q.First, q.Mark)
	if q.Full != nil {
		fmt.Fprintf(b, "  full since %s (when_full = %q): %s\n", q.Full.Since.UTC().Format(time.DateTime), q.Full.WhenFull, q.Full.Reason)
	}
	if lost := q.DroppedOldest + q.DroppedNewest + q.Damaged; lost > 0 {
		fmt.Fprintf(b, "  since the start: %d records dropped as the oldest, %d refused as the newest, %d damaged\n", q.DroppedOldest, q.DroppedNewest, q.Damaged)
	}
	if q.HealedSegments+q.HealErrors > 0 {
		fmt.Fprintf(b, "  since the start: %d damaged segments healed, %d healings put off\n", q.HealedSegments, q.HealErrors)
	}
	if q.ScrubbedAt != nil {
		fmt.Fprintf(b, "  all segments read and checked by %s\n", q.ScrubbedAt.UTC().Format(time.DateTime))
	}
	if q.LedgerRecords > 0 {
		fmt.Fprintf(b, "  %d records in the loss ledger, losses.jsonl\n", q.LedgerRecords)
	}
	for _, c := range q.Losses {
		fmt.Fprintf(b, "    %s\n", c.Line())
	}
	if len(q.Detached) > 0 {
		fmt.Fprintf(b, "  records are held for outputs that are not configured: %s\n", strings.Join(q.Detached, ", "))
	}
}

func (p *PluginStatus) writeError(b *strings.Builder, side string) {
	if p.LastErrorAt == nil {
		return
	}
	fmt.Fprintf(b, "\n%s %s failed at %s: %s\n", side, p.Name, p.LastErrorAt.UTC().Format(time.DateTime), p.LastError)
	if p.NextRetry != nil {
		fmt.Fprintf(b, "  next attempt at %s\n", p.NextRetry.UTC().Format(time.DateTime))
	}
}

// table writes rows under a heading, in columns.
func table(b *strings.Builder, heading string, rows func(row func(...any))) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, heading)
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, c)
		}
		fmt.Fprintln(w)
	})
	w.Flush()
}

// number is "1 input" or "2 inputs".
func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func seconds(s float64) time.Duration {
	d := time.Duration(s * float64(time.Second))
	if d >= time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(time.Millisecond)
}

// size rounds to whole units of 1024 where there are more than ten of them.
func size(n int64) config.Bytes {
	for unit := int64(1) << 40; unit > 1; unit >>= 10 {
		if n >= 10*unit {
			return config.Bytes(n / unit * unit)
		}
	}
	return config.Bytes(n)
}
