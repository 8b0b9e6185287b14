package torture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"logmule/integration/disk"
	"logmule/integration/rig"
)

// wound is one wrong bit in a frame of a sealed segment, as a bad disk makes it.
type wound struct {
	where   int  // in the frame
	heals   bool // else a bit of the parity that would give it back is wrong, too
	records int  // in the frame, which are all that may be lost
}

// Bits, by the number of their byte in a frame; docs/format.md has the header of a frame.
const (
	frameHeader = 56
	inBody      = frameHeader + 3
	inLength    = 21 // the second byte of the length of the body: 4096 more
)

// healing is the fault that costs nothing: the segment gives the bit back.
func healing(name string) fault {
	w := &wound{where: inBody, heals: true}
	return fault{name: name, begin: w.inflict, reads: true, quick: true, says: "damaged segment healed"}
}

// wounded is the fault: it costs the frame, whatever is wrong in it.
func wounded(name string, where int) fault {
	w := &wound{where: where}
	return fault{name: name, begin: w.inflict, reads: true, may: true, lossy: true, quick: where == inLength, says: damage, costs: func() int { return w.records }}
}

// inflict alters a segment that only the output late has still to read.
func (w *wound) inflict(d *disk.Disk) error {
	var list []string
	err := rig.Wait(rig.Patience, "segments wait", func() bool {
		list, _ = filepath.Glob(filepath.Join(d.Path(), "data", "segments", segments))
		return len(list) >= 8
	})
	if err != nil {
		return err
	}
	slices.Sort(list)
	name := list[len(list)-4]
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	frame, records := dataFrame(text, 16<<10)
	if frame < 0 {
		return fmt.Errorf("%s has no small frame of records", name)
	}
	w.records = records
	at := frame + w.where
	text[at] ^= 16
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text[at:at+1], int64(at))
	if err == nil && !w.heals {
		block := parityOf(text, at)
		text[block] ^= 16
		_, err = f.WriteAt(text[block:block+1], int64(block))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// parityOf is where the parity begins that stands for the stripe with this byte; docs/format.md has the trailer.
func parityOf(text []byte, at int) int {
	trailer := text[len(text)-4096:]
	stripe, parity := int(binary.LittleEndian.Uint32(trailer[12:])), int(binary.LittleEndian.Uint64(trailer[64:]))
	return parity + at/stripe%32*stripe
}

// dataFrame is where the first compressed frame of records is that begins at this offset or later, with less than 4 KiB, and how many it
// has; -1: there is none.
func dataFrame(text []byte, from int) (at, records int) {
	const magic, data, snappy = 0x464d4cf7, 1, 1 // without snappy the length stands in the header twice
	for at := 4096; at+frameHeader <= len(text) && binary.LittleEndian.Uint32(text[at:]) == magic; {
		u32 := func(offset int) int { return int(binary.LittleEndian.Uint32(text[at+offset:])) }
		if at >= from && text[at+4] == data && text[at+5] == snappy && u32(20) < 4096 {
			return at, u32(16)
		}
		at += (frameHeader + u32(20) + u32(28) + 7) &^ 7
	}
	return -1, 0
}
