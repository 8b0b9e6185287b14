package recovery

import (
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

const mostPadding = 7

// padded writes one frame of n records with as much padding as there can be, synced, and returns where that begins.
func (b *builder) padded(n int) int64 {
	b.t.Helper()
	for k := 0; ; k++ { // as long as the key is, so long is the meta
		before := *b
		key, raw := strings.Repeat("k", k), ""
		for i := range n {
			raw += payload(b.next+uint64(i)) + "\n"
		}
		h := segment.FrameHeader{Type: segment.Data, First: b.next}
		runs := []segment.Run{{Form: segment.Lines, Count: uint32(n), Raw: uint32(len(raw)), Key: []byte(key)}}
		segment.EncodeFrame(nil, &h, runs, []byte(raw), b.codec)
		if (segment.FrameHeaderSize+h.Meta+h.Stored)%8 != 8-mostPadding {
			*b = before
			continue
		}
		b.sourced(n, key, "")
		return b.w.End() - mostPadding
	}
}

// TestCutInPadding cuts a segment inside the padding behind a frame: that frame counts. fsck, the start and the repair agree, and
// what they leave is whole.
func TestCutInPadding(t *testing.T) {
	for _, c := range []struct {
		name    string
		sealed  bool
		middle  bool // another frame follows the one behind which the cut is
		after   int  // segments that follow
		lost    string
		survive string
		damage  string // causes that fsck names
	}{
		{"active, the last frame", false, false, 0, "", "1-11", ""},
		{"active, another frame", false, true, 0, "", "1-7", ""}, // and nothing tells that there was more
		{"given up, the last frame", false, false, 1, "", "1-13", ""},
		{"given up, another frame", false, true, 1, "8-11", "1-7 12-13", causeTruncated},
		{"sealed, the last frame, newest", true, false, 0, "", "1-11", ""},
		{"sealed, the last frame", true, false, 1, "", "1-13", ""},
		{"sealed, another frame", true, true, 1, "8-11", "1-7 12-13", causeTruncated},
		{"sealed, the last frame, older", true, false, 3, "", "1-17", causeTrailer},
		{"sealed, another frame, older", true, true, 3, "8-11", "1-7 12-17", causeTruncated + ", " + causeTrailer},
	} {
		for lacks := range int64(mostPadding + 1) {
			t.Run(fmt.Sprintf("%s, lacks %d", c.name, lacks), func(t *testing.T) {
				b := newBuilder(t)
				b.sealed(3)
				b.open()
				b.full()
				ends := []int64{b.padded(4)}
				b.sync()
				ends = append(ends, b.padded(4))
				b.sync()
				if c.sealed {
					b.seal()
				} else {
					b.close()
				}
				for range c.after - 1 {
					b.sealed(2)
				}
				if c.after > 0 {
					b.killed(2)
				}
				end := ends[1]
				if c.middle {
					end = ends[0]
				}
				b.truncate(1, end+mostPadding-lacks)
				agree(t, b, c.lost, c.survive, c.damage)
				repaired, again := b.fs.Crash(faultfs.Keep, 0), Report{}
				if r := mustRepair(t, repaired); !r.Clean || lostOf(r) != c.lost {
					t.Errorf("repair: %+v", r)
				}
				if again = mustRepair(t, repaired); !again.Clean || again.Repaired {
					t.Errorf("second repair: %+v", again)
				}
				if got := surviving(t, repaired).String(); got != c.survive {
					t.Errorf("after the repair there are %s, want %s", got, c.survive)
				}
				if state := mustStart(t, repaired, nil); !state.Report.Clean || surviving(t, repaired).String() != c.survive {
					t.Errorf("start after the repair: %+v", state.Report)
				}
			})
		}
	}
}

// agree holds fsck before a start, the start, and fsck after it against each other.
func agree(t *testing.T, b *builder, lost, survive, damage string) {
	t.Helper()
	before := check(t, b.fs)
	var causes []string
	for _, d := range before.Damage {
		if causes = append(causes, d.Cause); d.Length < 0 {
			t.Errorf("damage of no length: %+v", d)
		}
	}
	if got := strings.Join(causes, ", "); got != damage || before.Clean != (damage == "") || lostOf(before) != lost || before.TornTailBytes != 0 {
		t.Errorf("fsck names %q, want %q: %+v", got, damage, before)
	}
	if got := surviving(t, b.fs).String(); got != survive {
		t.Errorf("there are the records %s, want %s", got, survive)
	}
	started := b.fs.Crash(faultfs.Keep, 0)
	state := mustStart(t, started, nil)
	older := strings.Contains(damage, causeTrailer) // a start reads the newest segments only
	if got := lostOf(state.Report); got != lost && !older || state.Report.TornTailBytes != 0 {
		t.Errorf("the start says that %q are lost, want %q: %+v", got, lost, state.Report)
	}
	if got := surviving(t, started).String(); got != survive {
		t.Errorf("after the start there are %s, want %s", got, survive)
	}
	if after := check(t, started); after.Clean == older {
		t.Errorf("fsck after the start: %+v", after)
	}
	if older {
		return
	}
	data := contentOf(t, started, b.path(1))
	if trailer, err := segment.ReadTrailer(strings.NewReader(string(data)), int64(len(data))); err != nil || trailer.DataEnd%8 != 0 {
		t.Errorf("the start has not sealed it: %+v, %v", trailer, err)
	}
	saved(t, b.fs, started)
}

// lostOf are the records that a report tells of as lost.
func lostOf(r Report) string {
	var lost []string
	for _, d := range r.Damage {
		if d.FirstLost > 0 {
			lost = append(lost, fmt.Sprintf("%d-%d", d.FirstLost, d.LastLost))
		}
	}
	return strings.Join(lost, " ")
}

// TestSupersededCutInPadding: of frames that the next segment has again, quarantine gets what is there.
func TestSupersededCutInPadding(t *testing.T) {
	for lacks := range int64(mostPadding + 1) {
		b := newBuilder(t)
		b.open()
		b.full()
		b.records(5)
		b.sync()
		end := b.padded(4) + mostPadding - lacks
		b.close()
		b.next = 6
		b.start()
		b.killed(3)
		b.truncate(0, end)
		if r := check(t, b.fs); !r.Clean {
			t.Errorf("fsck: %+v", r)
		}
		at := b.of(5).offset + b.of(5).size
		name := fmt.Sprintf("%s-%d-%d.bin", b.made[0], at, end-at)
		repaired := b.fs.Crash(faultfs.Keep, 0)
		mustRepair(t, repaired)
		mustStart(t, b.fs, nil)
		for what, fsys := range map[string]*faultfs.FS{"start": b.fs, "repair": repaired} {
			if got := quarantined(t, fsys); !slices.Equal(got, []string{name}) {
				t.Errorf("%s: in quarantine is %v, want %s", what, got, name)
			} else if data := contentOf(t, fsys, filepath.Join(testDir, quarantineDir, name)); int64(len(data)) != end-at {
				t.Errorf("%s: %s has %d bytes", what, name, len(data))
			}
			if got := surviving(t, fsys).String(); got != "1-8" {
				t.Errorf("%s: there are the records %s, want 1-8", what, got)
			}
		}
	}
}

// TestUndecodableCutInPadding: a frame that cannot be decoded is damage as long as what there is of it.
func TestUndecodableCutInPadding(t *testing.T) {
	b := newBuilder(t)
	b.codec = segment.None
	b.open()
	b.full()
	end := b.padded(4)
	b.sync()
	b.close()
	at := b.placed[len(b.placed)-1].offset
	edit(t, b.fs, b.path(0), func(data []byte) []byte {
		h, err := segment.DecodeFrameHeader(data[at:], b.made[0].Salt, at)
		if err != nil {
			t.Fatal(err)
		}
		frame := data[at:end]
		frame[segment.FrameHeaderSize] = 0xff // more runs than there are
		h.Sum = crc32.Checksum(frame[segment.FrameHeaderSize:], castagnoli)
		h.Put(frame, b.made[0].Salt, at)
		return data[:end]
	})
	r, err := Check(t.Context(), b.fs, testDir, CheckOptions{Deep: true})
	if err != nil || len(r.Damage) != 1 || r.Damage[0].Offset != at || r.Damage[0].Length != end-at {
		t.Errorf("%+v, %v", r, err)
	}
}
