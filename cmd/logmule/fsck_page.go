package main

import (
	"fmt"
	"slices"
	"strings"

	"logmule/recovery"
)

const (
	pageWidth   = 100
	mostDamaged = 20 // segments that the page lists; --json has all
	mostPlaces  = 6  // of each of them
	mostNotes   = 20
)

// fsckPage is what fsck says to a tired operator: the verdict first, then what is wrong and what is lost, what it means, what
// was looked at, and what to do.
func fsckPage(dir string, r recovery.Report, flags fsckOptions) string {
	var b strings.Builder
	v := weigh(r)
	v.mended = flags.mend
	fmt.Fprintf(&b, "%s: %s\n", v.verdict(r), clean(dir))
	if len(r.Damage) > 0 {
		paragraph(&b, "", v.sentence(r))
		v.listDamage(&b)
		paragraph(&b, "", "\nWhat it means: "+v.meaning())
	} else if v.undone(r) > 0 {
		paragraph(&b, "", "No damage is new; files that hold bytes whose loss is written down could not be written anew.")
	}
	writeChecked(&b, r, flags.deep)
	writeOutputs(&b, r)
	writeHistory(&b, r.Ledger)
	if v.mended && len(r.Damage)+v.undone(r) > 0 {
		v.writeMended(&b, dir, r)
	} else if len(r.Damage) > 0 {
		v.writeRepair(&b, dir, r)
	}
	for i, note := range r.Notes {
		if i == 0 {
			b.WriteString("\n")
		}
		if i == mostNotes {
			fmt.Fprintf(&b, "... and %s more; --json has all\n", count(uint64(len(r.Notes)-i), "note"))
			break
		}
		paragraph(&b, "      ", "note: "+clean(note))
	}
	return b.String()
}

// meaning says what has happened.
func (v weighed) meaning() string {
	if v.odd == len(v.segments) {
		return "files were copied, renamed or brought back among the segments, or put there. A crash does not do that: think of a " +
			"backup that was restored, or of someone who tidied up."
	}
	return "bytes that were safe on this disk have been changed or destroyed since. A crash alone does not do that: think of the " +
		"disk, the memory, the file system, or of someone who wrote there. Look into the kernel log (dmesg) and at the disk's own " +
		"report (smartctl -a)."
}

// weighed is a report, segment by segment.
type weighed struct {
	mended   bool // a repair has run
	repaired bool // and has changed something
	segments []damagedSegment
	aside    int   // other files than segments: checkpoints.db
	odd      int   // files that do not belong where they are
	renamed  int   // of these, those that only have the wrong name
	oddLeft  int   // of these, those that a repair had to leave
	gone     int   // places where segment files are missing
	nameless bool  // at one of these it may be several
	heals    int   // segments that are as they were when all is healed
	healed   int64 // bytes that come back
	kept     int64 // bytes that go to quarantine
	rebuilt  int   // headers, indexes, trailers, blocks of the parity
	left     int   // places that a repair does nothing about

	asideLeft bool   // a repair does nothing about it
	delivered uint64 // lost records that every output had done
	pending   uint64 // lost records in places that are left as they are: no line of the ledger tells of them yet
}

// undone is 1 where a repair has not come to its end.
func (v weighed) undone(r recovery.Report) int {
	if v.mended && !r.Clean {
		return 1
	}
	return 0
}

// damagedSegment is a file with what is wrong in it.
type damagedSegment struct {
	name   string
	damage []recovery.Damage
}

func (s damagedSegment) heals() bool {
	return !slices.ContainsFunc(s.damage, func(d recovery.Damage) bool { return !d.Heals() })
}

func weigh(r recovery.Report) weighed {
	v := weighed{repaired: r.Repaired, healed: r.HealedBytes, kept: r.QuarantinedBytes}
	at := map[string]int{}
	for _, d := range r.Damage {
		switch {
		case d.Aside():
			v.aside++
			if v.asideLeft = d.Left(); v.asideLeft {
				v.left++
			}
		case d.Odd():
			v.odd++
			switch {
			case d.Renamed():
				v.renamed++
			case d.Left():
				v.oddLeft++
				v.leave(d)
			case d.Kept():
				v.kept -= d.Length
			}
		case d.Gone():
			v.gone++
			v.nameless = v.nameless || d.Segment == ""
			if d.Left() {
				v.leave(d)
			}
		case d.Left():
			v.leave(d)
		case d.Rebuilt():
			v.rebuilt++
		}
		if d.Lost.DeliveredToAll() {
			v.delivered += d.Lost.Records
		}
		i, known := at[d.Segment]
		if !known || d.Segment == "" {
			i = len(v.segments)
			at[d.Segment] = i
			v.segments = append(v.segments, damagedSegment{name: d.Segment})
		}
		v.segments[i].damage = append(v.segments[i].damage, d)
	}
	for _, s := range v.segments {
		if s.heals() && !s.damage[0].Aside() && !s.damage[0].Odd() {
			v.heals++
		}
	}
	return v
}

// leave counts a place that a repair does nothing about.
func (v *weighed) leave(d recovery.Damage) {
	v.left++
	if d.FirstLost > 0 {
		v.pending += d.LastLost - d.FirstLost + 1
	}
}

func (v weighed) verdict(r recovery.Report) string {
	switch {
	case v.undone(r) > 0:
		return "DAMAGE IS LEFT"
	case len(r.Damage) == 0:
		return "CLEAN"
	case v.mended:
		return "REPAIRED"
	default:
		return "DAMAGED"
	}
}

// sentence is "3 of 80 segments are damaged; 2 of them heal completely; 412 records are lost."
func (v weighed) sentence(r recovery.Report) string {
	var parts []string
	damaged := len(v.segments) - v.gone - v.aside - v.odd
	if damaged > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s %s damaged", damaged, count(uint64(r.Segments), "segment"), v.verb(damaged, "is", "are", "was", "were")))
	}
	if v.heals > 0 {
		who := fmt.Sprintf("%d of them", v.heals)
		switch {
		case damaged == 1:
			who = "it"
		case v.heals == damaged:
			who = "all of them"
		}
		parts = append(parts, who+" "+v.verb(v.heals, "heals", "heal", "was healed", "were healed")+" completely")
	}
	if v.odd > 0 {
		parts = append(parts, count(uint64(v.odd), "file")+" "+v.verb(v.odd, "does", "do", "did", "did")+" not belong where "+v.verb(v.odd, "it is", "they are", "it was", "they were"))
	}
	if v.aside > 0 {
		parts = append(parts, count(uint64(v.aside), "other file")+" "+v.verb(v.aside, "is", "are", "was", "were")+" damaged")
	}
	if v.gone > 0 && !v.nameless {
		parts = append(parts, count(uint64(v.gone), "segment file")+" "+v.verb(v.gone, "is", "are", "was", "were")+" missing")
	}
	if v.nameless {
		parts = append(parts, "segment files are missing in "+count(uint64(v.gone), "place"))
	}
	return strings.Join(append(parts, v.loss(r)), "; ") + "."
}

// loss is how many records are lost, and how many of these nobody misses.
func (v weighed) loss(r recovery.Report) string {
	switch {
	case r.LostRecords == 0 && v.left > 0:
		return "no record is known to be lost"
	case r.LostRecords == 0 && slices.ContainsFunc(r.Damage, recovery.Damage.BroughtBack):
		return "records that were brought back " + v.verb(1, "go", "go", "are in", "are in") + " to quarantine/, and no other is lost"
	case r.LostRecords == 0:
		return "no record is lost"
	}
	text := count(r.LostRecords, "record") + " are lost"
	if r.LostRecords == 1 {
		text = "1 record is lost"
	}
	switch v.delivered {
	case 0:
	case r.LostRecords:
		text += ", after every output had delivered them"
	default:
		text += fmt.Sprintf(", %d of them after every output had delivered them", v.delivered)
	}
	switch v.pending {
	case 0:
	case r.LostRecords:
		text += ", none of them written down yet"
	default:
		text += fmt.Sprintf(", %d of them not written down yet", v.pending)
	}
	return text
}

// verb is the form for n of something, now or before a repair.
func (v weighed) verb(n int, one, many, was, were string) string {
	switch {
	case v.repaired && n == 1:
		return was
	case v.repaired:
		return were
	case n == 1:
		return one
	default:
		return many
	}
}

// listDamage tells place by place what is wrong and what it costs.
func (v weighed) listDamage(b *strings.Builder) {
	for i, s := range v.segments {
		if i == mostDamaged {
			fmt.Fprintf(b, "\n... and %s more; --json lists all\n", count(uint64(len(v.segments)-i), "segment"))
			return
		}
		name := clean(s.name)
		if name == "" {
			name = "a segment whose name nothing tells"
		}
		fmt.Fprintf(b, "\n%2d. %s\n", i+1, name)
		for n, d := range s.damage {
			if n == mostPlaces {
				fmt.Fprintf(b, "    ... and %s more; --json lists all\n", count(uint64(len(s.damage)-n), "place"))
				break
			}
			writeDamage(b, d, v.repaired)
		}
	}
}

// writeDamage tells of one place: the bytes, and the records that they cost.
func writeDamage(b *strings.Builder, d recovery.Damage, repaired bool) {
	const indent = "    "
	text := recovery.Meaning(d.Cause)
	switch {
	case d.Length > 0 && (d.Odd() || d.Aside()):
		text = fmt.Sprintf("%s: %s", size(d.Length), text)
	case d.Length > 0:
		text = fmt.Sprintf("%s at offset %d: %s", size(d.Length), d.Offset, text)
	}
	if d.FirstLost == 0 {
		paragraph(b, indent, indent+text+"; "+costless(d, repaired)+".")
		return
	}
	if d.Left() {
		text += "; left as it is"
	}
	paragraph(b, indent, indent+text+".")
	lost := count(d.LastLost-d.FirstLost+1, "record")
	if d.Lost != nil {
		lost = d.Lost.String()
	}
	text = fmt.Sprintf("LOST: %s, %s", lost, recovery.Sequences(d.FirstLost, d.LastLost))
	if d.Lost != nil {
		text += "; " + d.Lost.Delivered()
	}
	paragraph(b, indent, indent+clean(text)+".")
}

// costless says why damage costs no record.
func costless(d recovery.Damage, repaired bool) string {
	switch {
	case d.Renamed() && repaired:
		return "it has its own name again"
	case d.Renamed():
		return "it gets its own name back, nothing is lost"
	case d.Rebuilt() && repaired:
		return "made again, no record touched"
	case d.Rebuilt():
		return "it can be made again, no record is touched"
	case d.Heals() && repaired:
		return "the parity gave them back, they are as they were"
	case d.Heals():
		return "the parity gives them back, nothing is lost"
	case d.Left():
		return "left as it is"
	case d.Odd() && repaired:
		return "it is in quarantine/ now"
	case d.Odd():
		return "it goes to quarantine/ as it is"
	default:
		return "no record was in them"
	}
}

func writeChecked(b *strings.Builder, r recovery.Report, deep bool) {
	fmt.Fprintf(b, "\nchecked  %s, %s, %s\n", count(uint64(r.Segments), "segment"), size(r.Bytes), depth(deep))
	if r.Records == 0 {
		b.WriteString("records  none\n")
	} else {
		fmt.Fprintf(b, "records  %d, %s\n", r.Records, recovery.Sequences(r.FirstSequence, r.LastSequence))
	}
	if r.TornTailBytes > 0 {
		does := "the next start cuts them off"
		if r.Repaired {
			does = "they are cut off now"
		}
		paragraph(b, "         ", fmt.Sprintf("tail     %s torn by a crash; nothing in them was acknowledged, %s", size(r.TornTailBytes), does))
	}
}

func depth(deep bool) string {
	if deep {
		return "every byte, every record decoded"
	}
	return "every byte"
}

// writeOutputs shows how far each output is, and where records are lost what it will miss.
func writeOutputs(b *strings.Builder, r recovery.Report) {
	if len(r.Outputs) == 0 {
		return
	}
	b.WriteString("\n")
	heading := "OUTPUT\tPOSITION\tBACKLOG"
	if r.LostRecords > 0 {
		heading += "\tWILL MISS"
	}
	table(b, heading, func(row func(...any)) {
		for _, o := range r.Outputs {
			cells := []any{clean(o.Name), o.Position, o.Backlog}
			if r.LostRecords > 0 {
				cells = append(cells, o.Missing)
			}
			row(cells...)
		}
	})
}

// writeHistory tells of former losses, by cause.
func writeHistory(b *strings.Builder, ledger []recovery.CauseLosses) {
	if len(ledger) == 0 {
		return
	}
	b.WriteString("\nhistory, from the loss ledger, losses.jsonl; known, and no damage any more:\n")
	for _, c := range ledger {
		paragraph(b, "    ", "  - "+clean(c.Line())+".")
	}
}
