package main

import (
	"fmt"
	"io"
	"strings"

	"logmule/forward"
	"logmule/recovery/hekaqueue"
)

// salvagePage is what a salvage says about a Heka queue, for a person: while it reads, the ranges that cannot be read, at
// the end the rest. It is written as it comes, since there may be millions of ranges.
type salvagePage struct {
	w     io.Writer
	q     *hekaqueue.Queue
	bar   *progress
	files []hekaqueue.FileReport
}

// begin says what there is before it is read.
func (p *salvagePage) begin() {
	var b strings.Builder
	q := p.q
	fmt.Fprintf(&b, "%s: Heka queue, %s in %s\n", clean(q.Path), size(q.Bytes), count(uint64(len(q.Files)), "file"))
	switch c := q.Checkpoint; {
	case c.Believed:
		fmt.Fprintf(&b, "checkpoint.txt: the next record to deliver is at %d of %s\n", c.Position.Offset, c.Position.File)
	case c.There && c.Text == "":
		b.WriteString("checkpoint.txt is empty, so nothing counts as delivered\n")
	case c.There:
		fmt.Fprintf(&b, "checkpoint.txt says %q, which is not believed: %s. So nothing counts as delivered\n", c.Text, clean(c.Why))
	case c.Why != "":
		b.WriteString("checkpoint.txt is not there, so nothing counts as delivered\n")
	}
	for _, gap := range q.Missing {
		what := "is"
		if gap.First != gap.Last {
			what = "are"
		}
		fmt.Fprintf(&b, "%s %s missing between the others; what was in there is lost, unless somebody has it\n", gap, what)
	}
	for _, name := range q.Strangers {
		fmt.Fprintf(&b, "%s is no part of a queue and is left alone\n", clean(name))
	}
	fmt.Fprint(p.w, b.String())
}

// skipped says what cannot be read, and why.
func (p *salvagePage) skipped(s hekaqueue.Skip) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s [%d,%d) skipped, %s: %s", clean(s.File), s.From, s.To, count(uint64(s.To-s.From), "byte"), clean(s.Why))
	if s.BadFrames > 1 {
		fmt.Fprintf(&b, "; %d such frames begin there", s.BadFrames)
	}
	if s.Zeros >= 16 && s.Zeros < s.To-s.From {
		fmt.Fprintf(&b, "; %d of the bytes are NUL", s.Zeros)
	}
	if s.Torn {
		b.WriteString("; a crash leaves that at the end of a file")
	}
	p.bar.clear()
	fmt.Fprintln(p.w, b.String())
}

// file notes what is in a file.
func (p *salvagePage) file(f hekaqueue.FileReport) { p.files = append(p.files, f) }

// end says what was found.
func (p *salvagePage) end(sum *hekaqueue.Report) {
	var b strings.Builder
	b.WriteString("\n")
	if all := len(p.q.Files); sum.Files < all {
		fmt.Fprintf(&b, "It ended early: only %d of %s were read to the end, and this is about those.\n\n", sum.Files, count(uint64(all), "file"))
	}
	table(&b, "FILE\tSIZE\tRECORDS\tINTACT\tPROBABLE\tSUSPECT\tDELIVERED\tBAD FRAMES\tSKIPPED", func(row func(...any)) {
		line := func(name string, f *hekaqueue.FileReport) {
			all := f.All()
			row(name, size(f.Size), all.Records, all.Intact, all.Probable, all.Suspect, f.Delivered.Records, f.BadFrames, skippedCell(f))
		}
		for i := range p.files {
			if err := p.files[i].Err; err != nil {
				row(clean(p.files[i].File.Name), clean(err.Error()))
				continue
			}
			line(clean(p.files[i].File.Name), &p.files[i])
		}
		if len(p.files) > 1 {
			line("all", &sum.FileReport)
		}
	})
	w := sum.Waiting
	fmt.Fprintf(&b, "\nNot delivered: %s, of which %d intact, %d probable, %d suspect. Delivered by Heka: %d.\n",
		count(w.Records, "record"), w.Intact, w.Probable, w.Suspect, sum.Delivered.Records)
	all := sum.All()
	meaning(&b, &all, sum)
	if all.Records > 0 {
		b.WriteString("What nobody can know: Heka stores no checksums. A record in which damage has changed some letters reads like any\n" +
			"other, intact ones included, and how many records were in the bytes that are skipped is not written anywhere.\n")
	}
	fmt.Fprint(p.w, b.String())
}

// skippedCell is "115 B in 1 place".
func skippedCell(f *hekaqueue.FileReport) string {
	if f.Skips == 0 {
		return "-"
	}
	return fmt.Sprintf("%s in %s", size(f.SkippedBytes), count(uint64(f.Skips), "place"))
}

// meaning explains the classes that there are.
func meaning(b *strings.Builder, all *hekaqueue.Counts, sum *hekaqueue.Report) {
	if all.Probable > 0 {
		b.WriteString("Probable: the record is whole; what follows it in the file is not.\n")
	}
	if all.Suspect > 0 {
		var why []string
		all.ByDoubt(func(text string, n uint64) { why = append(why, fmt.Sprintf("%d with %s", n, text)) })
		fmt.Fprintf(b, "Suspect: the record is whole, and has something in it that damage may have left, or its sender: %s.\n", strings.Join(why, ", "))
	}
	if all.Plain > 0 {
		fmt.Fprintf(b, "Written by Heka 0.9: %s, which are payloads as the output's encoder made them, without attributes.\n", count(all.Plain, "record"))
	}
	if sum.Skips > 0 {
		fmt.Fprintf(b, "Lost: what was in %s that are skipped, in %s", count(uint64(sum.SkippedBytes), "byte"), count(uint64(sum.Skips), "place"))
		if mean := meanSize(all); mean > 0 && sum.SkippedBytes > sum.ZeroBytes {
			fmt.Fprintf(b, "; about %s of the usual size fit into that", count(uint64((sum.SkippedBytes+mean-1)/mean), "record"))
		}
		b.WriteString(".\n")
	}
}

func meanSize(c *hekaqueue.Counts) int64 {
	if c.Records == 0 {
		return 0
	}
	return c.Bytes / int64(c.Records)
}

// salvagedLine says in one line what was put into a data directory.
func salvagedLine(into string, s forward.Salvaged) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s put into %s", count(s.Records, "record"), clean(into))
	if s.Records == 1 {
		fmt.Fprintf(&b, "; its sequence is %d", s.First)
	} else if s.Records > 1 {
		fmt.Fprintf(&b, "; their sequences are %d to %d", s.First, s.Last)
	}
	if s.Before > 0 {
		fmt.Fprintf(&b, "; %s had been put there by an earlier salvage of this queue", count(s.Before, "record"))
	}
	b.WriteString("\n")
	return b.String()
}
