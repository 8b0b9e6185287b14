// Package damage breaks queue directories in memory, byte by byte and by chance.
//
// A directory is built on queue/vfs/faultfs as a killed queue leaves it. Then something is done to its files, and the product has to
// deal with that: by a start and its readers, by a start and the scrubber, or by fsck --repair. What must come of it is worked out by
// an oracle (oracle_test.go) from the files before and after the damage and from docs/format.md, without the product's code for
// recovery. Judged are, in every run:
//
//	I1     no record is lost whose bytes are there, or that the parity gives back
//	I2     nothing is delivered that is not, byte for byte, what was appended
//	I3     in order
//	I4     the process starts by itself, and goes on
//	I5     each lost sequence stands in the loss ledger, once, and nothing else does
//	I6     no damaged byte is changed or cut off without a copy in quarantine
//	I7     then fsck finds nothing, and the next start has nothing to do
//	I8     no sequence is given again
//	agree  fsck, cat and the readers tell of the same surviving records, and fsck of the same lost ones as the ledger
//	repeat what an output had done does not come again as long as one of the places that say so is whole
//
// TestTable has the rows of docs/torture.md, TestEveryByte flips one bit in each byte, and TestDestruction does up to eight harms at once.
package damage

import (
	"os"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

const levelVariable = "LOGMULE_TORTURE" // unset, short or long

// level is how much is to be tried.
func level(t testing.TB) string {
	t.Helper()
	l := os.Getenv(levelVariable)
	if l != "" && l != "short" && l != "long" {
		t.Fatalf("%s is %q; use short or long, or unset it", levelVariable, l)
	}
	return l
}

// smallWorld has two sealed segments and an unsealed one, of few bytes each.
func smallWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		b.moves("a", 1)
		b.moves("b", 1)
		b.moves("c", 1)
		b.open()
		b.durable(40, 3, 1, 5, 2)
		b.codec = segment.Snappy
		b.durable(90, 4, 4)
		b.moves("b", 8, checkpoint.Range{First: 10, Last: 11})
		b.positions(false)
		b.durable(60, 2, 6)
		b.control(segment.Close)
		b.seal()
		b.restart()
		b.open()
		b.durable(50, 3, 7, 1)
		b.moves("c", b.next-3)
		b.positions(false)
		b.durable(50, 3, 5, 2)
		b.seal()
		b.open()
		b.durable(50, 3, 1, 4)
		b.moves("c", b.next-2)
		b.positions(false)
		b.durable(50, 2, 3)
		b.control(segment.Marker)
		b.kill(2048)
	})
}

// TestUndamaged is what all else is compared with: nothing is wrong where nothing was done.
func TestUndamaged(t *testing.T) {
	w := smallWorld(t)
	for by := range ways {
		j := w.try(t, w.files, by)
		if err := j.err(); err != nil || !j.before.Clean || uint64(len(w.payloads)) != j.there.Count()-1 {
			t.Errorf("by %v: %v\n%+v", by, err, j.before)
		}
	}
	size := 0
	for _, s := range w.segs {
		size += len(s.bytes)
	}
	t.Logf("%d records, %d bytes of segments", len(w.payloads), size)
}
