package main

import (
	"fmt"
	"strings"

	"logmule/recovery"
)

// writeMended says what a repair has done, and what to do next.
func (v weighed) writeMended(b *strings.Builder, dir string, r recovery.Report) {
	b.WriteString("\nWhat --repair did:\n")
	v.writeDeeds(b, r, true)
	switch {
	case r.Clean:
		paragraph(b, "", "\nWhat to do: start the daemon. \"logmule fsck\" finds nothing more, and \"logmule quarantine list\" shows what was kept.")
	case r.Wants > 0:
		paragraph(b, "", fmt.Sprintf("\nWhat to type: the disk is full. Free at least %d bytes there, then run it again:", r.Wants))
		fmt.Fprintf(b, "\n    logmule fsck %s --repair\n", shellWord(dir))
	default:
		paragraph(b, "", "\nWhat to do: see to what is left as it is, above and in the notes, then run the same command again.")
	}
}

// writeRepair says what a repair will do, what to type, and what happens without it.
func (v weighed) writeRepair(b *strings.Builder, dir string, r recovery.Report) {
	b.WriteString("\nWhat --repair will do:\n")
	v.writeDeeds(b, r, false)
	b.WriteString("\nWhat to type:\n\n")
	if r.Running {
		b.WriteString("    systemctl stop logmule      # or however the daemon is stopped here: it has the queue open\n")
	}
	fmt.Fprintf(b, "    logmule fsck %s --repair\n", shellWord(dir))
	if r.Running {
		b.WriteString("    systemctl start logmule\n")
	}
	without := "start the daemon: it starts with such damage, and goes on by itself."
	if r.Running {
		without = "leave the daemon running: it goes on by itself."
	}
	paragraph(b, "", "\nWithout a repair: "+without+" Where an output or the scrubber meets damage, it heals what the parity has, "+
		"copies what cannot be healed to quarantine/, writes down what is lost, skips it and delivers the rest. "+
		"A repair does the same now, everywhere, and is done when it ends.")
}

// writeDeeds lists what a repair is about.
func (v weighed) writeDeeds(b *strings.Builder, r recovery.Report, done bool) {
	say := func(will, did string, args ...any) {
		text := will
		if done {
			text = did
		}
		paragraph(b, "    ", "  - "+fmt.Sprintf(text, args...))
	}
	if v.healed > 0 {
		say("make good %s from the parity, bit for bit", "made good %s from the parity, bit for bit", size(v.healed))
	}
	if v.rebuilt > 0 {
		say("rebuild in %s what holds no records: header, index, parity or trailer", "rebuilt in %s what holds no records: header, index, parity or trailer", count(uint64(v.rebuilt), "place"))
	}
	if v.aside > 0 && !v.asideLeft {
		say("make checkpoints.db again, of what is sound in it and of the positions in the log", "made checkpoints.db again, of what was sound in it and of the positions in the log")
	}
	if v.renamed > 0 {
		say("give %s the name that it has by what is in it", "gave %s the name that it has by what is in it", count(uint64(v.renamed), "file"))
	}
	if moved := v.odd - v.renamed - v.oddLeft; moved > 0 {
		say("move to quarantine/ %s out of place", "moved to quarantine/ %s out of place", count(uint64(moved), "file"))
	}
	if v.kept > 0 {
		say("copy %s that nothing gives back to quarantine/", "copied %s that nothing gives back to quarantine/", size(v.kept))
	}
	if told := r.LostRecords - min(v.pending, r.LostRecords); told > 0 {
		say("write %s down as lost in losses.jsonl; from then on they are history", "wrote %s down as lost in losses.jsonl; they are history now", count(told, "record"))
	}
	if r.TornTailBytes > 0 {
		say("cut off %s of torn tail", "cut off %s of torn tail", size(r.TornTailBytes))
	}
	if v.left > 0 {
		as := "they are"
		if v.left == 1 {
			as = "it is"
		}
		say("leave %s as %s, for you to settle", "left %s as %s, for you to settle", count(uint64(v.left), "place"), as)
	}
	if v.mended && !r.Repaired {
		say("", "changed nothing")
		return
	}
	say("touch no record that is whole; all that it replaces stays in quarantine/ as it was, for which there has to be room; "+
		"it may be interrupted and run again", "no record that is whole was touched; all that was replaced is in quarantine/ as it was")
}

// shellWord is the name of a file as one types it in a shell.
func shellWord(s string) string {
	if strings.HasPrefix(s, "-") {
		s = "./" + s
	}
	special := func(r rune) bool {
		plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,", r)
		return !plain
	}
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	if clean(s) != s { // no name moves the cursor
		return "$'" + clean(strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s)) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
