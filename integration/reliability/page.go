package reliability

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Place puts the tables into a page. A table goes between the lines <!-- PART --> and <!-- end -->; one whose part has no row here stays
// as it is, so that a run of some parts does not wipe out the others. stamp is a line that says what ran where, above each new table.
func Place(page, stamp string, rows []Row) (string, error) {
	for _, part := range Parts {
		var own []Row
		for _, r := range rows {
			if r.Part == part {
				own = append(own, r)
			}
		}
		if len(own) == 0 {
			continue
		}
		head := fmt.Sprintf("<!-- %s -->\n", part)
		before, rest, found := strings.Cut(page, head)
		if !found {
			return "", fmt.Errorf("no line %q for the table; write it where the table belongs", strings.TrimSpace(head))
		}
		_, after, found := strings.Cut(rest, "<!-- end -->\n")
		if !found {
			return "", fmt.Errorf("no line \"<!-- end -->\" after %q", strings.TrimSpace(head))
		}
		text := table(own)
		if part == Compared {
			text = comparison(own)
		}
		page = before + head + "\n" + stamp + "\n\n" + text + "\n<!-- end -->\n" + after
	}
	return page, nil
}

func table(rows []Row) string {
	var b strings.Builder
	b.WriteString("| what was done | to | times | lost | declared | altered | invented | doubled | back after | what happened | test |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d | %d | %s | %s | %s |\n",
			cell(r.Fault), cell(r.Kind), r.Tried, r.Lost, r.Declared, r.Altered, r.Invented, r.Doubled, back(r.Back), cell(r.Outcome), cell(r.Test))
	}
	return b.String()
}

// comparison has a line for each damage, with a column for each of those who were given it, and one for what others made of it.
func comparison(rows []Row) string {
	var faults, kinds []string
	beside, outcomes := map[string]string{}, map[[2]string]string{}
	for _, r := range rows {
		if !slices.Contains(faults, r.Fault) {
			faults = append(faults, r.Fault)
		}
		if !slices.Contains(kinds, r.Kind) {
			kinds = append(kinds, r.Kind)
		}
		beside[r.Fault] = r.Beside
		text := r.Outcome
		if r.Back > 0 {
			text += "; the last old record after " + back(r.Back)
		}
		if broken := r.Lost + r.Altered + r.Invented; broken > 0 {
			text = fmt.Sprintf("**%d lost, %d altered, %d invented**; ", r.Lost, r.Altered, r.Invented) + text
		}
		outcomes[[2]string{r.Fault, r.Kind}] = text
	}
	slices.Sort(kinds)
	slices.Reverse(kinds)
	var b strings.Builder
	fmt.Fprintf(&b, "| damage | %s | the six others |\n|---|%s---|\n", strings.Join(kinds, " | "), strings.Repeat("---|", len(kinds)))
	for _, fault := range faults {
		fmt.Fprintf(&b, "| %s |", cell(fault))
		for _, kind := range kinds {
			fmt.Fprintf(&b, " %s |", cell(outcomes[[2]string{fault, kind}]))
		}
		fmt.Fprintf(&b, " %s |\n", cell(beside[fault]))
	}
	return b.String()
}

// cell is text that does not break out of its cell.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

func back(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
