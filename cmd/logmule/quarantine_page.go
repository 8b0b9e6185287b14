package main

import (
	"fmt"
	"strings"
	"time"

	"logmule/recovery"
)

// quarantinePage lists what is in quarantine for a person.
func quarantinePage(dir string, all []recovery.Kept) string {
	var b strings.Builder
	if len(all) == 0 {
		return fmt.Sprintf("%s: nothing is in quarantine\n", clean(dir))
	}
	var safe []recovery.Kept
	for _, k := range all {
		if k.LosesNothing {
			safe = append(safe, k)
		}
	}
	fmt.Fprintf(&b, "%s: %s in quarantine, %s, which count in max_size\n\n", clean(dir), count(uint64(len(all)), "file"), size(roomOf(all)))
	table(&b, "NAME\tSIZE\tSINCE\tBYTES OF THE SEGMENT\tCAUSE\tLOST SEQUENCES\tDROPPING IT", func(row func(...any)) {
		for _, k := range all {
			row(clean(k.Name), size(k.Size), moment(k.Since), keptRange(k), clean(k.Cause), keptLost(k), verdict(k))
		}
	})
	fmt.Fprintf(&b, "\nlogmule quarantine show %s NAME    says more of one\n", shellWord(dir))
	switch {
	case len(safe) == len(all):
		fmt.Fprintf(&b, "logmule quarantine drop %s --all   frees %s; nothing is lost with it\n", shellWord(dir), size(roomOf(all)))
	case len(safe) > 0:
		fmt.Fprintf(&b, "logmule quarantine drop %s NAME... frees the room; %s of %s lose nothing\n", shellWord(dir), count(uint64(len(safe)), "file"), size(roomOf(safe)))
	default:
		fmt.Fprintf(&b, "logmule quarantine drop %s NAME... frees the room, when nobody wants the bytes any more\n", shellWord(dir))
	}
	return b.String()
}

func keptRange(k recovery.Kept) string {
	switch {
	case k.Segment == "":
		return "-"
	case k.Kind == recovery.KeptSegment:
		return "all"
	}
	return fmt.Sprintf("%d to %d", k.Offset, k.Offset+k.Length-1)
}

// keptLost are the sequences that were lost with a file.
func keptLost(k recovery.Kept) string {
	var parts []string
	for i, g := range k.Lost {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("and %d more ranges", len(k.Lost)-i))
			break
		}
		parts = append(parts, sequences(g.First, g.Last))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func verdict(k recovery.Kept) string {
	switch {
	case k.Stranger:
		return "is not done: not of the queue"
	case k.LosesNothing && k.Room == 0:
		return "frees nothing"
	case k.LosesNothing:
		return "loses nothing"
	}
	return "loses these bytes"
}

// keptPage says for a person what is in one file.
func keptPage(dir string, c recovery.KeptContent) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, in quarantine since %s\n%s\n\n", clean(c.Name), size(c.Size), moment(c.Since), clean(c.Why))
	if c.Segment != "" {
		fmt.Fprintf(&b, "from     segment %s, %s\n", c.Segment, keptBytes(c.Kept))
	}
	if h := c.Header; h != nil {
		fmt.Fprintf(&b, "header   queue %s, start %d, first sequence %d, made %s, segment_size %s\n", h.Queue, h.Epoch.Starts, h.First, moment(time.Unix(0, h.Created)), size(int64(h.Size)))
	} else if c.Kind == recovery.KeptSegment {
		b.WriteString("header   cannot be read\n")
	}
	if t := c.Sealed; t != nil {
		fmt.Fprintf(&b, "sealed   with %s, sequences %d to %d\n", count(t.Records, "record"), t.Header.First, t.Last)
	}
	if c.Segment != "" {
		fmt.Fprintf(&b, "readable %s with %s", count(c.Frames, "frame"), count(c.Records, "record"))
		if c.First > 0 {
			fmt.Fprintf(&b, ", sequences %d to %d", c.First, c.Last)
		}
		b.WriteString("\n")
	}
	for _, g := range c.Lost {
		fmt.Fprintf(&b, "lost     %s, says losses.jsonl\n", sequences(g.First, g.Last))
	}
	keptPlaces(&b, c)
	if len(c.Found) > 0 {
		fmt.Fprintf(&b, "\nThe bytes from %d on, by their place in the segment", c.At)
		if c.Was != nil {
			b.WriteString("; > is what stood there, by the parity")
		}
		b.WriteString(":\n\n")
		dump(&b, c)
	}
	if c.LosesNothing {
		fmt.Fprintf(&b, "\nNothing is lost by dropping it: logmule quarantine drop %s %s\n", shellWord(dir), shellWord(c.Name))
	}
	return b.String()
}

func keptBytes(k recovery.Kept) string {
	if k.Kind == recovery.KeptSegment {
		return "all of it"
	}
	return fmt.Sprintf("%s from offset %d on", count(uint64(k.Length), "byte"), k.Offset)
}

// keptPlaces lists bad bytes, the first of them.
func keptPlaces(b *strings.Builder, c recovery.KeptContent) {
	const most = 8
	for i, s := range c.Bad {
		if i == most {
			fmt.Fprintf(b, "bad      and %s more\n", count(uint64(len(c.Bad)-i), "range"))
			break
		}
		fmt.Fprintf(b, "bad      %s from offset %d on are no frame\n", count(uint64(s.Size), "byte"), s.Offset)
	}
	for i, s := range c.Healed {
		if i == most {
			fmt.Fprintf(b, "healed   and %s more\n", count(uint64(len(c.Healed)-i), "range"))
			break
		}
		fmt.Fprintf(b, "healed   %s from offset %d on\n", count(uint64(s.Size), "byte"), s.Offset)
	}
}

// dump writes bytes as hexdump -C does, and below a line what it was, where that differs.
func dump(b *strings.Builder, c recovery.KeptContent) {
	for at := 0; at < len(c.Found); at += 16 {
		end := min(at+16, len(c.Found))
		fmt.Fprintf(b, "%10d  %s\n", c.At+int64(at), hexLine(c.Found[at:end]))
		if c.Was != nil && string(c.Was[at:end]) != string(c.Found[at:end]) {
			fmt.Fprintf(b, "%10s> %s\n", "", hexLine(c.Was[at:end]))
		}
	}
}

// hexLine is up to 16 bytes in hex and as text.
func hexLine(line []byte) string {
	var hex, text strings.Builder
	for i, c := range line {
		if i == 8 {
			hex.WriteByte(' ')
		}
		fmt.Fprintf(&hex, "%02x ", c)
		if c < ' ' || c > '~' {
			c = '.'
		}
		text.WriteByte(c)
	}
	return fmt.Sprintf("%-49s |%s|", hex.String(), text.String())
}
