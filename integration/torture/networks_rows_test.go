package torture

import (
	"testing"

	"logmule/integration/reliability"
)

// book holds the rows of a test until its end: those of tests that run beside each other would mix in the table.
type book struct{ rows []reliability.Row }

// openBook writes the rows when the test ends.
func openBook(t *testing.T) *book {
	b := new(book)
	t.Cleanup(func() {
		for _, r := range b.rows {
			reliability.Add(t, r)
		}
	})
	return b
}

func (b *book) add(r reliability.Row) {
	r.Part = reliability.Networks
	b.rows = append(b.rows, r)
}

// cannot is the row of a kind that a fault has nothing to do with.
func (b *book) cannot(fault, kind, why string) {
	b.add(reliability.Row{Fault: fault, Kind: kind, Outcome: "cannot happen: " + why})
}

// noConnection is why most faults of this part do nothing to udp.
const noConnection = "a datagram has no connection"

// TestNetworksElsewhere says of the kinds without a network that they have none.
func TestNetworksElsewhere(t *testing.T) {
	b := openBook(t)
	const fault = "any fault of a network"
	b.cannot(fault, "input file", "files are read from a disk")
	b.cannot(fault, "input generate", "it makes its records itself")
	b.cannot(fault, "input stdin", "a pipe comes from this machine")
	b.cannot(fault, "output file", "files are written to a disk")
	b.cannot(fault, "output stdout", "a pipe ends on this machine")
}
