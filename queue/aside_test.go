package queue

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// liveLog is a log that can be read while it is written.
type liveLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *liveLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *liveLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// setAside puts a file of so many bytes into quarantine, as if a reader had copied a damaged range.
func (b *bench) setAside(name string, size int) {
	b.Helper()
	if err := b.fsys.MkdirAll("/data/quarantine"); err != nil {
		b.Fatal(err)
	}
	if err := vfs.WriteFile(b.fsys, filepath.Join("/data/quarantine", name), make([]byte, size)); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) inQuarantine() (names []string) {
	b.Helper()
	infos, err := b.fsys.ReadDir("/data/quarantine")
	if err != nil {
		b.Fatal(err)
	}
	for _, i := range infos {
		names = append(names, i.Name())
	}
	return names
}

// damageAll damages every sealed segment within the reach of its parity, and returns how many there were.
func (b *bench) damageAll() (n int) {
	b.Helper()
	infos, err := b.fsys.ReadDir("/data/segments")
	if err != nil {
		b.Fatal(err)
	}
	for _, i := range infos {
		f, err := b.fsys.OpenWrite(filepath.Join("/data/segments", i.Name()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := segment.ReadTrailer(f, i.Size()); err == nil {
			n++
			if _, err := f.WriteAt([]byte("damage"), 20000); err != nil {
				b.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

const rangeName = "00000000000000000001-00000000000000ff.seg-4096-8.bin"

// TestQuarantineCounts: what is in quarantine leaves less room, the log says what to type, and when it is dropped beside
// the running queue there is room again.
func TestQuarantineCounts(t *testing.T) {
	var log liveLog
	b := newBench(t, small(Block))
	b.q.Reader("out", Oldest)
	without := b.pourUntilFull(0, 20000)
	b = newBench(t, func(o *Options) { small(Block)(o); o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	b.close()
	b.setAside(rangeName, 400<<10)
	b.open()
	b.q.Reader("out", Oldest)
	with := b.pourUntilFull(0, 20000)
	if s := b.q.Status(); s.Quarantine != 1 || s.QuarantineBytes != 400<<10 {
		t.Errorf("status %+v", s)
	}
	if s := b.q.Status(); with > without*3/4 || s.Bytes+s.QuarantineBytes > s.MaxSize {
		t.Errorf("%d records fit without, %d with 400 KiB in quarantine; status %+v", without, with, s)
	}
	if why := b.q.Status().FullWhy; !strings.Contains(why, `logmule quarantine drop /data --all`) || !strings.Contains(why, "quarantine 409600 of max_size") {
		t.Errorf("full because %s", why)
	}
	if !log.has("logmule quarantine drop /data --all") {
		t.Error("the log does not say what to type")
	}
	if err := b.fsys.Remove("/data/quarantine/" + rangeName); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "room", func() bool { return !b.q.Status().Full })
}

// TestQuarantineNeverFills: however much is in quarantine, a queue goes on as soon as its output has done everything, and
// nothing of it is deleted.
func TestQuarantineNeverFills(t *testing.T) {
	for _, size := range []int64{256 << 10, 1 << 20, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var log liveLog
			b := newBench(t, func(o *Options) {
				o.MaxSize, o.Codec, o.Log = size, segment.None, slog.New(slog.NewTextHandler(&log, nil))
			})
			b.close()
			b.setAside(rangeName, 5<<20)
			b.open()
			r := b.q.Reader("out", Oldest)
			for i := range 2 * int(size) / 40000 {
				b.append(noise(uint64(i), 40000))
				b.take(r, 1)
			}
			if got := b.inQuarantine(); len(got) != 1 {
				t.Errorf("quarantine has %v", got)
			}
			if !log.has("quarantine takes more than is counted in max_size") {
				t.Error("the log does not say so")
			}
		})
	}
}

// TestHealedOriginalsGo: segments that were healed stay in quarantine up to an eighth of max_size, the newest of them; the
// others go, with a counter.
func TestHealedOriginalsGo(t *testing.T) {
	var log liveLog
	b := newBench(t, func(o *Options) {
		o.MaxSize, o.SegmentSize, o.Codec, o.Log = 3<<20, 128<<10, segment.None, slog.New(slog.NewTextHandler(&log, nil))
	})
	b.q.Reader("holds", Oldest)
	all := b.fill(50, 20000)
	b.close()
	n := b.damageAll()
	b.setAside(rangeName, 1000)
	b.open()
	got, lost := b.take(b.q.Reader("one", Oldest), len(all))
	equal(t, "healed", got, all)
	if lost > 0 || n < 6 {
		t.Fatalf("%d lost, %d segments damaged", lost, n)
	}
	b.q.Reader("holds", Oldest)
	waitFor(t, "quarantine within its share", func() bool {
		s := b.q.Status()
		names := len(b.inQuarantine())
		return s.Quarantine == names && int(s.Tidied) == n+1-names && s.QuarantineBytes <= 3<<20/8+4096
	})
	s := b.q.Status()
	names := b.inQuarantine()
	if len(names) < 3 {
		t.Errorf("%d segments damaged, %d dropped, left %v", n, s.Tidied, names)
	}
	if !strings.Contains(fmt.Sprint(names), rangeName) || !log.has("damaged segments dropped from quarantine") {
		t.Errorf("left %v", names)
	}
	if r := b.fsck(); !r.Clean {
		t.Errorf("%+v", r)
	}
}

// TestHealedOriginalsMakeRoom: where the queue is short of room, none of them stays.
func TestHealedOriginalsMakeRoom(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MaxSize, o.SegmentSize, o.Codec = 3<<20, 128<<10, segment.None })
	b.q.Reader("holds", Oldest)
	all := b.fill(10, 20000)
	b.close()
	if b.damageAll() == 0 {
		t.Fatal("nothing is damaged")
	}
	b.open()
	b.take(b.q.Reader("one", Oldest), len(all))
	if s := b.q.Status(); s.QuarantineBytes == 0 || s.Tidied > 0 {
		t.Fatalf("status %+v", s)
	}
	n := b.pourUntilFull(len(all), 20000)
	waitFor(t, "quarantine empty", func() bool { return b.q.Status().QuarantineBytes == 0 && b.q.Status().Tidied > 0 })
	if n == 0 {
		t.Error("nothing was taken")
	}
}
