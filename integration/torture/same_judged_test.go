package torture

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"logmule/integration/reliability"
)

// judged says what broke a promise, and gives the row.
func (c *comparison) judged() *reliability.Row {
	c.t.Helper()
	missing := numbers(nil).with(1, c.base.records).without(numbers(nil).with(1, c.base.delivered)).without(c.came)
	ledger, log := c.byLedger(), c.byLog()
	if c.harm.policy { // which records go is when_full's to say
		c.may = ledger.ranges
	}
	good := missing.without(c.may).count()
	f := c.Judge.Verdict().Findings[0]
	wrong := f.Altered.Count + f.Invented.Count
	if good > 0 || wrong > 0 || f.Disordered.Count > 0 || f.Refused.Count > 0 {
		c.t.Errorf("%d records are missing that nothing has touched (%v), %d are altered or invented, %d out of order", good, missing.without(c.may), wrong, f.Disordered.Count)
	}
	if c.fresh != 2000 || c.twice > c.harm.twice {
		c.t.Errorf("%d of 2000 new records came, %d old ones twice", c.fresh, c.twice)
	}
	c.exact(missing, ledger, log)
	if want := map[bool]int{true: 4, false: 0}[len(c.report.says) > 0]; c.exit != want {
		c.t.Errorf("fsck exits %d before the start; it says %q", c.exit, c.report.says)
	}
	if code, page := c.Run("fsck", c.Data); code != 0 {
		c.t.Errorf("fsck exits %d after both starts:\n%s", code, page)
	}
	return &reliability.Row{Part: reliability.Compared, Fault: c.harm.name, Kind: "logmule, after " + endOf(c.base.kill), Tried: 1, Lost: good,
		Declared: missing.count(), Altered: wrong, Doubled: c.twice, Back: c.back, Beside: c.harm.six, Outcome: c.outcome(missing, log)}
}

// exact holds what three places tell of against what is missing.
func (c *comparison) exact(missing numbers, ledger, log told) {
	c.t.Helper()
	silent := c.harm.untold && ledger.sum+log.sum+c.report.sum == 0
	if c.harm.policy {
		// Drops are history before the start, and the log tells how many they were.
		if c.report.sum > 0 || log.sum != missing.count() || ledger.sum != missing.count() || !ledger.ranges.equal(missing) {
			c.t.Errorf("missing are %d, %v; the ledger tells of %d, %v, the log of %d, fsck of %d", missing.count(), missing, ledger.sum, ledger.ranges, log.sum, c.report.sum)
		}
		return
	}
	for who, t := range map[string]told{"fsck's report before the start": c.report, "the loss ledger": ledger, "the log": log} {
		if !silent && (t.sum != missing.count() || !t.ranges.equal(missing)) {
			c.t.Errorf("%s tells of %d lost records, %v; missing are %d, %v", who, t.sum, t.ranges, missing.count(), missing)
		}
	}
}

// outcome is the row in words.
func (c *comparison) outcome(missing numbers, log told) string {
	whole, gone := c.base.records-c.base.delivered, missing.count()
	text := "all " + thousands(whole)
	if gone > 0 {
		text = fmt.Sprintf("%s of %s", thousands(whole-gone), thousands(whole))
		beside := missing.without(c.touched).count()
		switch {
		case c.harm.policy:
			text += fmt.Sprintf(", %s dropped; the count is right in log and ledger", thousands(gone))
		case log.sum == 0:
			text += "; nothing tells of the others"
		case beside > 0:
			text += fmt.Sprintf(", %s of the others stood whole in the same frames; the count is right in report, log and ledger", thousands(beside))
		default:
			text += "; the count is right in report, log and ledger"
		}
	}
	if says := slices.Compact(slices.Sorted(slices.Values(c.report.says))); len(says) > 0 {
		text += "; fsck exits 4: " + strings.Join(says, ", ")
	}
	if len(log.says) > 0 {
		text += "; log: " + strings.Join(log.says, ", ")
	}
	if c.twice > 0 {
		text += fmt.Sprintf("; %s twice", thousands(c.twice))
	}
	return text + fmt.Sprintf("; ready after %v", c.ready.Round(time.Millisecond))
}

// thousands is a number with commas.
func thousands(n uint64) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
