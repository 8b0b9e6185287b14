package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"logmule/recovery"
)

// fsckPage is what fsck says to a tired operator: the verdict first, then what was looked at, what is wrong, what that
// means, what is lost and what to do.
func fsckPage(dir string, r recovery.Report, deep bool) string {
	var b strings.Builder
	switch {
	case r.Clean:
		fmt.Fprintf(&b, "CLEAN: %s\n", dir)
	case r.LostRecords == 0 && r.HealedBytes > 0:
		fmt.Fprintf(&b, "DAMAGED, NOTHING LOST FOR GOOD: %s\n", dir)
	case r.LostRecords == 0:
		fmt.Fprintf(&b, "DAMAGED, NO RECORD LOST: %s\n", dir)
	default:
		fmt.Fprintf(&b, "DAMAGED, %s LOST: %s\n", strings.ToUpper(count(r.LostRecords, "record")), dir)
	}
	fmt.Fprintf(&b, "\nchecked  %s, %s, %s\n", count(uint64(r.Segments), "segment"), size(r.Bytes), depth(deep))
	if r.Records == 0 {
		b.WriteString("records  none\n")
	} else {
		fmt.Fprintf(&b, "records  %d, sequences %d to %d\n", r.Records, r.FirstSequence, r.LastSequence)
	}
	if r.TornTailBytes > 0 {
		fmt.Fprintf(&b, "tail     %s torn by a crash; nothing in them was acknowledged, the next start cuts them off\n", size(r.TornTailBytes))
	}
	if len(r.Outputs) > 0 {
		b.WriteString("\n")
		table(&b, "OUTPUT\tPOSITION\tBACKLOG", func(row func(...any)) {
			for _, o := range r.Outputs {
				row(clean(o.Name), o.Position, o.Backlog)
			}
		})
	}
	if !r.Clean {
		writeDamage(&b, r)
	}
	for i, note := range r.Notes {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "note: %s\n", clean(note))
	}
	return b.String()
}

func depth(deep bool) string {
	if deep {
		return "every byte, every record decoded"
	}
	return "every byte"
}

// writeDamage lists what is damaged and says what follows from it.
func writeDamage(b *strings.Builder, r recovery.Report) {
	fmt.Fprintf(b, "\nWhat is wrong: %s.\n\n", count(uint64(len(r.Damage)), "place"))
	table(b, "  SEGMENT\tOFFSET\tBYTES\tCAUSE\tLOST SEQUENCES\tACTION", func(row func(...any)) {
		for _, d := range r.Damage {
			row("  "+dash(clean(d.Segment)), d.Offset, d.Length, d.Cause, lost(d), d.Action)
		}
	})
	b.WriteString("\nWhat it means: bytes that were safe on this disk have been changed or destroyed since. A crash alone does not do\n" +
		"that: think of the disk, the memory, the file system, or of someone who wrote there.\n")
	b.WriteString("\nWhat is lost: ")
	switch {
	case r.LostRecords > 0:
		fmt.Fprintf(b, "%s. No other record is touched.\n", count(r.LostRecords, "record"))
	case r.HealedBytes > 0:
		b.WriteString("nothing. What is bad can be restored.\n")
	default:
		b.WriteString("nothing. Every record can be read.\n")
	}
	if r.HealedBytes > 0 {
		fmt.Fprintf(b, "%s can be restored from the parity of their segment.\n", size(r.HealedBytes))
	}
	b.WriteString("\nWhat to do: ")
	b.WriteString("leave the daemon running, or start it.\n")
	if r.HealedBytes > 0 {
		b.WriteString("By itself it restores what the parity has, when an output or the scrubber gets there, and keeps the damaged file\n" +
			"in quarantine/; it needs room for another file of that size.\n")
	}
	b.WriteString("What cannot be restored it copies to quarantine/, writes what is lost in losses.jsonl, skips it and delivers the rest.\n" +
		"Look for the cause: the kernel log (dmesg) and the disk's own report (smartctl -a).\n")
}

func lost(d recovery.Damage) string {
	switch d.FirstLost {
	case 0:
		return "none"
	case d.LastLost:
		return fmt.Sprint(d.FirstLost)
	default:
		return fmt.Sprintf("%d to %d", d.FirstLost, d.LastLost)
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

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// count is "1 record", "2 records".
func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size writes bytes for a person: three digits are enough.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n)
	unit := ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		v /= 1 << 10
		if v < 999.5 {
			break
		}
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// moment writes a time for a person, in UTC.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
