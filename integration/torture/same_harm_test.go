package torture

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
)

// harm is one damage to the copy of a base.
type harm struct {
	name   string
	do     func(c *comparison)
	six    string // what the other six made of it
	quick  bool   // a smoke does it too
	untold bool   // nothing tells of what it costs
	policy bool   // when_full drops records
	twice  uint64 // records that may come again
}

func sameHarms() []harm {
	all := []harm{
		{name: "none", do: func(*comparison) {}, six: "rsyslog leaves 2 records out; the others deliver all", quick: true},
		{name: "a bit in a record's payload", do: flipPayload(middle), six: "five deliver one altered record and say nothing; Fluent Bit leaves out 7,974 good ones"},
		{name: "a bit in a length field", do: flip(middle, inLength), six: "Telegraf and Heka stop, and stop again: 17,999 and 41,747 good records stay behind. Good ones left out: syslog-ng 49,998, Fluent Bit 7,974, rsyslog 644 (it says so), OTel 99 (silent)"},
		{name: "a bit in a header within the file", do: flip(middle, 8), six: "OTel (a page) refuses to start, and again: all 100,000 stay behind; Fluent Bit (a chunk) leaves out 7,975 good ones"},
		{name: "a bit in the header of the file", do: flipAt(middle, 72), six: "as above"},
		{name: "4 KiB zeros, middle", do: zeros(middle, 4<<10), six: "Telegraf stops, and again: 33,993 good ones stay behind. Good ones left out: syslog-ng 49,992 and one altered, Fluent Bit 7,960, rsyslog 643, OTel 84 (silent), Heka none (silent)", quick: true},
		{name: "1 MiB zeros, middle", do: zeros(middle, 1<<20), six: "OTel refuses to start, Telegraf and Heka stop, each again: 96,473, 17,343 and 40,142 good ones stay behind. Left out: syslog-ng 48,926, Fluent Bit 4,269, rsyslog 850"},
		{name: "newest file cut by 1,000 B", do: cutTo(func(size, _ int) int { return size - 1000 }), six: "Telegraf refuses to start, Heka stops, rsyslog goes on without its disk queue; the others lose what was cut at most", quick: true},
		{name: "newest file cut 1,000 B into the used part", do: cutTo(func(_, used int) int { return used - 1000 }), six: "Fluent Bit leaves out 3,413 good ones, OTel 96 (silent)", quick: true},
		{name: "newest file cut to half", do: cutTo(func(size, _ int) int { return size / 2 }), six: "OTel and Telegraf refuse to start, and again: 57,543 and 99,696 good ones stay behind; rsyslog goes on without its disk queue; Fluent Bit leaves out 1,743; Heka and syslog-ng lose what was cut, without a count"},
		{name: "used part of the newest file cut to half", do: cutTo(func(_, used int) int { return (used + 4096) / 2 &^ 7 }), six: "–"},
		{name: "64 KiB noise at the end", do: noise(func(size, _ int) int { return size }), six: "Telegraf refuses to start, and again; rsyslog loses 7 new records (it says so)"},
		{name: "64 KiB noise behind the used part", do: noise(func(_, used int) int { return used }), six: "–"},
		{name: "last 4 KiB zeros", do: zerosAt(func(size, _ int) int { return size }), six: "Telegraf and Heka stop, and again; rsyslog goes on without its disk queue; syslog-ng delivers one altered record"},
		{name: "last 4 KiB of the used part zeros", do: zerosAt(func(_, used int) int { return used }), six: "Fluent Bit leaves out 3,402 good ones, OTel 85 (silent)"},
		{name: "middle data file deleted", do: remove(middle), six: "Telegraf stops, and again; rsyslog goes on without its disk queue and leaves out 35,731 good ones; Fluent Bit and Heka lose the file, silently"},
		{name: "in the newest file: a bit in a record's payload", do: flipPayload(newest), six: "–", quick: true},
		{name: "in the newest file: a bit in a length field", do: flip(newest, inLength), six: "–"},
		{name: "in the newest file: a bit in the header of a frame", do: flip(newest, 8), six: "–"},
		{name: "in the newest file: a bit in its header", do: flipAt(newest, 72), six: "–"},
		{name: "in the newest file: 4 KiB zeros", do: zeros(newest, 4<<10), six: "–"},
		{name: "in the newest file: 64 KiB zeros", do: zeros(newest, 64<<10), six: "–"},
		{name: "newest file deleted", do: remove(newest), six: "–"},
	}
	all = append(all, stateHarms()...)
	return append(all,
		harm{name: "in-file state (positions frames of the newest file) zeroed", do: positionsOf(nil), six: "OTel refuses to start, and again; syslog-ng delivers nothing of 100,000"},
		harm{name: "in-file state: an older copy of it", do: positionsOf(older), six: "OTel delivers nothing of 100,000 (silent), syslog-ng half (silent)"},
		harm{name: "newest file cut 1,000 B into the used part, and checkpoints.recent deleted", do: func(c *comparison) {
			cutTo(func(_, used int) int { return used - 1000 })(c)
			must(c.t, os.Remove(filepath.Join(c.Data, "checkpoints.recent")))
		}, six: "–", untold: true},
		harm{name: "everything but the segments deleted", do: allBut(false), six: "–", quick: true},
		harm{name: "everything but the segments deleted, and all positions frames zeroed", do: allBut(true), six: "–"},
	)
}

// stateHarms are those of the files that keep positions beside the log: each alone, and both.
func stateHarms() (all []harm) {
	forms := []struct {
		name, six string
		do        func(c *comparison, name string)
	}{
		{"deleted", "syslog-ng delivers nothing of 100,000 and says nothing, rsyslog 6 records and 2 altered ones; Heka repeats 1,000", func(c *comparison, name string) {
			must(c.t, os.Remove(filepath.Join(c.Data, name)))
		}},
		{"zeroed", "Heka refuses to start, and again; rsyslog goes on without its disk queue, nothing delivered; syslog-ng delivers nothing of 100,000", func(c *comparison, name string) {
			c.alter(name, func(text []byte) []byte { return make([]byte, len(text)) })
		}},
		{"cut to half", "rsyslog goes on without its disk queue, nothing delivered; Heka repeats 999", func(c *comparison, name string) {
			c.alter(name, func(text []byte) []byte { return text[:len(text)/2] })
		}},
		{"older", "rsyslog leaves out 50,034 good ones and counts 19; Heka repeats 500", func(c *comparison, name string) {
			must(c.t, copyFiles(c.Data, c.base.state, []string{name}))
		}},
	}
	for _, f := range forms {
		for _, name := range stateFiles {
			all = append(all, harm{name: name + " " + f.name, do: func(c *comparison) { f.do(c, name) }, six: f.six})
		}
		all = append(all, harm{name: "both " + f.name, six: f.six, quick: f.name == "zeroed", do: func(c *comparison) {
			for _, name := range stateFiles {
				f.do(c, name)
			}
		}})
	}
	return all
}

// Which file of a base a damage is done to.
func middle(b *sameBase) string { return b.files[len(b.files)/2] }
func newest(b *sameBase) string { return b.files[len(b.files)-1] }

func segmentFile(name string) string { return filepath.Join("segments", name) }

// alter writes a file of the copy anew.
func (c *comparison) alter(name string, to func(text []byte) []byte) {
	c.t.Helper()
	path := filepath.Join(c.Data, name)
	text, err := os.ReadFile(path)
	must(c.t, err)
	must(c.t, os.WriteFile(path, to(text), 0o600))
}

// middleFrame is the frame with the middle record of a segment.
func middleFrame(text []byte) frameSpan {
	all, _ := framesOf(text)
	all = slices.DeleteFunc(all, func(f frameSpan) bool { return f.kind != ofData })
	return all[len(all)/2]
}

// flip alters one bit of the middle frame, in its header.
func flip(which func(*sameBase) string, where int) func(*comparison) {
	return func(c *comparison) {
		c.alter(segmentFile(which(c.base)), func(text []byte) []byte {
			text[middleFrame(text).from+where] ^= 16
			return text
		})
	}
}

// flipPayload alters one bit of the middle record.
func flipPayload(which func(*sameBase) string) func(*comparison) {
	return func(c *comparison) {
		c.alter(segmentFile(which(c.base)), func(text []byte) []byte {
			f := middleFrame(text)
			text[f.body+f.records/2*(sameRecord+1)+sameRecord/2] ^= 16
			return text
		})
	}
}

func flipAt(which func(*sameBase) string, where int) func(*comparison) {
	return func(c *comparison) {
		c.alter(segmentFile(which(c.base)), func(text []byte) []byte {
			text[where] ^= 16
			return text
		})
	}
}

// zeros writes so many of them over the middle record, from a boundary of 4 KiB on.
func zeros(which func(*sameBase) string, n int) func(*comparison) {
	return func(c *comparison) {
		c.alter(segmentFile(which(c.base)), func(text []byte) []byte {
			from := (middleFrame(text).body + 4095) &^ 4095
			clear(text[from:min(from+n, len(text))])
			return text
		})
	}
}

// usedBy is where the newest file ends: the whole of it, and what of it has frames.
func usedBy(text []byte) (size, used int) {
	_, used = framesOf(text)
	return len(text), used
}

func cutTo(to func(size, used int) int) func(*comparison) {
	return func(c *comparison) {
		c.alter(segmentFile(newest(c.base)), func(text []byte) []byte { return text[:to(usedBy(text))] })
	}
}

func zerosAt(end func(size, used int) int) func(*comparison) {
	return func(c *comparison) {
		c.alter(segmentFile(newest(c.base)), func(text []byte) []byte {
			to := end(usedBy(text))
			clear(text[to-4096 : to])
			return text
		})
	}
}

// noise writes 64 KiB of it over what is there, or behind.
func noise(from func(size, used int) int) func(*comparison) {
	return func(c *comparison) {
		c.alter(segmentFile(newest(c.base)), func(text []byte) []byte {
			at := from(usedBy(text))
			for n := range uint64(64 << 10 / sha256.Size) {
				sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, n))
				text = append(text[:at], append(sum[:], text[min(at+len(sum), len(text)):]...)...)
				at += len(sum)
			}
			return text
		})
	}
}

func remove(which func(*sameBase) string) func(*comparison) {
	return func(c *comparison) { must(c.t, os.Remove(filepath.Join(c.Data, segmentFile(which(c.base))))) }
}

// older are the positions frames of the oldest file.
func older(c *comparison) []byte {
	text, err := os.ReadFile(filepath.Join(c.base.data, segmentFile(c.base.files[0])))
	must(c.t, err)
	return positionsIn(text)
}

func positionsIn(text []byte) (all []byte) {
	frames, _ := framesOf(text)
	for _, f := range frames {
		if f.kind == ofPositions {
			all = append(all, text[f.from:f.to]...)
		}
	}
	return all
}

// positionsOf writes something else over the positions frames of the newest file, zeros where there is no more of it.
func positionsOf(what func(*comparison) []byte) func(*comparison) {
	return func(c *comparison) {
		var with []byte
		if what != nil {
			with = what(c)
		}
		c.alter(segmentFile(newest(c.base)), func(text []byte) []byte { return overPositions(text, with) })
	}
}

func overPositions(text, with []byte) []byte {
	frames, _ := framesOf(text)
	for _, f := range frames {
		if f.kind == ofPositions {
			clear(text[f.from:f.to])
			with = with[copy(text[f.from:f.to], with):]
		}
	}
	return text
}

// allBut removes everything but the segments; positions: what they say of positions is zeroed as well.
func allBut(positions bool) func(*comparison) {
	return func(c *comparison) {
		list, err := os.ReadDir(c.Data)
		must(c.t, err)
		for _, e := range list {
			if e.Name() != "segments" {
				must(c.t, os.RemoveAll(filepath.Join(c.Data, e.Name())))
			}
		}
		for _, name := range c.base.files {
			if positions {
				c.alter(segmentFile(name), func(text []byte) []byte { return overPositions(text, nil) })
			}
		}
	}
}
