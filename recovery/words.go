package recovery

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The same words for the same thing on the pages of fsck and stat, in the log and on /status: what is lost, whose it was, when it
// came, whether its source was told that it is safe.

// mostSources is how many sources a sentence names.
const mostSources = 4

// String is "412 records of input web-3, 2026-11-20 14:02:11Z to 14:02:12Z".
func (l *Lost) String() string {
	text := countOf(l.Records, "record")
	if of := Sources(l.Sources); of != "" {
		switch {
		case l.SourcesExact:
			text += " of " + of
		case l.around:
			text += ", probably of " + of + " like those around them"
		default:
			text += ", probably of " + of
		}
	}
	switch when := Times(l.From, l.To); {
	case when == "":
	case l.TimesExact:
		text += ", " + when
	case !strings.Contains(when, " to "):
		text += ", of about " + when
	default:
		text += ", from between " + strings.Replace(when, " to ", " and ", 1)
	}
	return text
}

// Sources puts names such as "input web-3" together: "inputs web-3 and app".
func Sources(names []string) string {
	const input = "input "
	short, others := []string{}, []string{}
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, input); ok {
			short = append(short, rest)
		} else if name != "" {
			others = append(others, name)
		}
	}
	switch len(short) {
	case 0:
	case 1:
		others = append([]string{input + short[0]}, others...)
	default:
		others = append([]string{"inputs " + short[0]}, append(short[1:], others...)...)
	}
	return List(others)
}

// List is "a", "a and b", "a, b and c", "a, b, c and 5 more".
func List(names []string) string {
	if len(names) > mostSources {
		names = append(names[:mostSources-1:mostSources-1], fmt.Sprintf("%d more", len(names)-mostSources+1))
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// Times is a range of times in UTC, in seconds, the day once where it is one day: empty where they are not known.
func Times(from, to time.Time) string {
	const day, clock = "2006-01-02", "15:04:05Z"
	from, to = from.UTC(), to.UTC()
	switch first, last := from.Format(day+" "+clock), to.Format(day+" "+clock); {
	case from.IsZero() || to.IsZero():
		return ""
	case first == last:
		return first
	case from.Format(day) == to.Format(day):
		return first + " to " + to.Format(clock)
	default:
		return first + " to " + last
	}
}

// Delivered says how far the outputs had got with lost records: "none of them delivered yet".
func (l *Lost) Delivered() string {
	var done, missing, partly []string
	for _, o := range l.Outputs {
		switch {
		case o.Missing == 0:
			done = append(done, o.Name)
		case o.Done == 0:
			missing = append(missing, o.Name)
		default:
			partly = append(partly, fmt.Sprintf("%s had delivered %d, %d were still to come", o.Name, o.Done, o.Missing))
		}
	}
	all := len(l.Outputs)
	switch {
	case all == 0:
		return "no output has a position, so that none of them is known to be delivered"
	case len(done) == all:
		return "every output had delivered them before"
	case len(missing) == all:
		return "none of them delivered yet"
	}
	var parts []string
	if len(done) > 0 {
		parts = append(parts, List(done)+" had delivered all of them")
	}
	parts = append(parts, partly...)
	if len(missing) > 0 {
		parts = append(parts, List(missing)+" none yet")
	}
	return strings.Join(parts, "; ")
}

// DeliveredToAll tells whether nobody misses the records.
func (l *Lost) DeliveredToAll() bool {
	return l != nil && len(l.Outputs) > 0 && !slices.ContainsFunc(l.Outputs, func(o LostForOne) bool { return o.Missing > 0 })
}

// AcknowledgedText is in words what Loss.Acknowledged says.
func AcknowledgedText(acknowledged string) string {
	switch acknowledged {
	case Acknowledged:
		return "acknowledged to their source"
	case NotAcknowledged:
		return "never acknowledged to their source"
	default:
		return "acknowledged or not, nobody knows"
	}
}

// String is what a ledger tells of one cause, for one line: "412 records, sequences 5 to 416, of input web-3, missed by hq".
func (c CauseLosses) String() string {
	text := countOf(c.Records, "record")
	if c.Records == 0 {
		text = countOf(uint64(c.Lines), "place") + " without records"
	}
	if c.First > 0 {
		text += ", " + Sequences(c.First, c.Last)
	}
	if of := Sources(c.Sources); of != "" && c.SourcesExact {
		text += ", of " + of
	} else if of != "" {
		text += ", some of " + of
	}
	if len(c.Outputs) > 0 {
		text += ", missed by " + List(c.Outputs)
	}
	return text
}

// Line is String with the cause, and with what else is known: the line of a list.
func (c CauseLosses) Line() string {
	text := c.String() + ": " + Meaning(c.Cause)
	if c.Records > 0 {
		text += "; " + AcknowledgedText(c.Acknowledged)
	}
	if when := Times(c.Since, c.Until); when != "" {
		text += "; written down " + when
	}
	if len(c.Quarantine) > 0 {
		text += "; the bytes are in " + List(c.Quarantine)
	}
	if len(c.Dropped) > 0 {
		text += "; the bytes were in " + List(c.Dropped) + ", now gone"
	}
	return text
}

// GivenUp tells whether the records are not lost for all: single outputs gave them up, or were made to skip them.
func (c CauseLosses) GivenUp() bool {
	return slices.Contains([]string{CauseBacklog, CauseForgotten, CauseRewind}, c.Cause)
}

// Sequences is "sequence 5" or "sequences 5 to 416".
func Sequences(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("sequence %d", first)
	}
	return fmt.Sprintf("sequences %d to %d", first, last)
}

func countOf(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Heals tells whether the damage leaves nothing behind: what was bad is made again from what the segment keeps twice.
func (d Damage) Heals() bool {
	return slices.Contains([]string{wouldHeal, didHeal, wouldRebuild, didRebuild, wouldRename, didRename}, d.Action)
}

// Renamed tells whether it is only the name of a file.
func (d Damage) Renamed() bool { return d.Action == wouldRename || d.Action == didRename }

// Gone tells whether it is a file that is not there.
func (d Damage) Gone() bool { return d.Cause == causeMissing }

// Left tells whether a repair does nothing about it.
func (d Damage) Left() bool { return d.Action == didNothing }

// Kept tells whether its bytes go to quarantine by themselves; those of a segment that is healed stay there in the whole file.
func (d Damage) Kept() bool { return d.Action == wouldQuarantine || d.Action == didQuarantine }

// Aside tells whether it is in another file than a segment.
func (d Damage) Aside() bool { return d.Cause == causeStore }

// Odd tells whether it is a whole file that does not belong where it is.
func (d Damage) Odd() bool {
	return slices.Contains([]string{causeName, causeStranger, causeQueue, causeCopy, causeEpoch}, d.Cause)
}

// Rebuilt tells whether it is something that is made again from the records: an index, a trailer, a header, parity.
func (d Damage) Rebuilt() bool { return d.Action == wouldRebuild || d.Action == didRebuild }

// BroughtBack tells whether it is a segment of another life of the queue: what is in it is in the way, and no output gets it.
func (d Damage) BroughtBack() bool { return d.Cause == CauseEpoch }
