package torture

import (
	"strings"
	"testing"

	"logmule/integration/reliability"
)

// TestSameDamage gives logmule the damage that docs/reliability.md tells of six other forwarders, one at a time on a copy of the same
// data directory, and starts it twice. No untouched record may be missing and none altered, every new one has to come through, and
// what is lost has to stand, exactly, in fsck's report before the start, in the log, and in the loss ledger.
func TestSameDamage(t *testing.T) {
	t.Parallel()
	type group struct {
		name  string
		rows  []*reliability.Row
		begin func(t *testing.T) []*reliability.Row
	}
	var groups []*group
	for _, kill := range []bool{false, true} {
		groups = append(groups, &group{name: endOf(kill), begin: func(t *testing.T) []*reliability.Row {
			return sameDamage(t, newSameBase(t, kill, by[uint64](10_000, 100_000, 100_000), sameSegments()), sameHarms())
		}})
	}
	groups = append(groups, &group{name: "default segments", begin: func(t *testing.T) []*reliability.Row {
		return sameDamage(t, newSameBase(t, false, 100_000, ""), []harm{{name: "1 MiB zeros, middle, with segments of the default size", do: zeros(middle, 1<<20), six: "–"}})
	}}, &group{name: "full", begin: sameFull})
	if level == smoke {
		groups = groups[:2]
	}
	t.Run("each", func(t *testing.T) {
		for _, g := range groups {
			t.Run(g.name, func(t *testing.T) {
				t.Parallel()
				g.rows = g.begin(t)
			})
		}
	})
	for _, g := range groups { // in their order, whichever was ready first
		for _, row := range g.rows {
			if row != nil {
				reliability.Add(t, *row)
			}
		}
	}
}

// sameDamage does each of the damages to a copy of its own, and gives the rows of those that came to an end.
func sameDamage(t *testing.T, base *sameBase, harms []harm) []*reliability.Row {
	t.Logf("%d records in %v", base.records, base.files)
	rows := make([]*reliability.Row, len(harms))
	t.Run("each", func(t *testing.T) {
		for n, h := range harms {
			if level == smoke && !h.quick {
				continue
			}
			t.Run(strings.NewReplacer(" ", "-", "/", "-").Replace(h.name), func(t *testing.T) {
				if level > smoke {
					t.Parallel()
				}
				c := newComparison(t, base, h)
				must(t, copyTree(c.Data, base.data))
				rows[n] = c.run()
			})
		}
	})
	return rows
}

func endOf(kill bool) string {
	if kill {
		return "SIGKILL"
	}
	return "SIGTERM"
}
