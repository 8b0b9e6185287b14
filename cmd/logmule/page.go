package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// sequences is "5" or "5 to 416".
func sequences(first, last uint64) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d to %d", first, last)
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

// paragraph writes text in lines of at most pageWidth, all but the first one indented, where words allow it.
func paragraph(b *strings.Builder, indent, text string) {
	for strings.HasPrefix(text, "\n") {
		b.WriteString("\n")
		text = text[1:]
	}
	lead := len(text) - len(strings.TrimLeft(text, " "))
	width := lead
	b.WriteString(text[:lead])
	for i, word := range strings.Split(text[lead:], " ") {
		n := len([]rune(word))
		switch {
		case i == 0:
		case width+1+n > pageWidth:
			b.WriteString("\n" + indent)
			width = len(indent)
		default:
			b.WriteString(" ")
			width++
		}
		b.WriteString(word)
		width += n
	}
	b.WriteString("\n")
}
