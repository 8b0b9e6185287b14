package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/judge"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// TestImages runs the daemon on ext4 and on xfs, in images on the fault disk, and under load takes a snapshot of the image at
// random moments: what a power loss leaves when the disk drops, keeps or mixes what was not flushed. Each is mounted, which
// replays its journal, and a daemon that is started on it delivers everything that was acknowledged before the snapshot.
func TestImages(t *testing.T) {
	for _, kind := range disk.Kinds[:by(1, 2, 2)] {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			newImaged(t, kind).run()
		})
	}
}

// imaged is a daemon on an image.
type imaged struct {
	*rig.Lab
	t     *testing.T
	kind  string
	dir   string
	image *disk.Image
	url   string // of its http input
	rows  map[disk.Mode]*imageRow
}

// imageRow is what the snapshots of one mode came to.
type imageRow struct {
	tried, lost, wrong, doubled uint64
	ready                       time.Duration // the longest
}

func newImaged(t *testing.T, kind string) *imaged {
	t.Helper()
	need(t, disk.ImageAvailable(kind))
	dir := t.TempDir()
	d, err := disk.Start(disk.Options{Mount: filepath.Join(dir, "disk"), Backing: filepath.Join(dir, "backing"), Output: filepath.Join(dir, "disk.log")})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	image, err := disk.MakeImage(d, "image", kind, filepath.Join(dir, "image"))
	must(t, err)
	t.Cleanup(func() { must(t, image.Close()) })
	i := &imaged{t: t, kind: kind, dir: dir, image: image, rows: map[disk.Mode]*imageRow{}}
	http := rig.OwnAddress(t)
	i.url = "http://" + http
	// The output hq is down, so that the queue keeps all; near is there for the checkpoints and the deletion that follow.
	sink := rig.OwnAddress(t)
	rig.StartHTTPSink(t, sink, func([]byte) {})
	i.Lab = newLabAt(t, filepath.Join(image.Path(), "data"), imagedText(http, rig.OwnAddress(t), fmt.Sprintf("[output.near]\ntype = \"http\"\nurl = \"http://%s/\"\n", sink)))
	return i
}

// imagedText is a configuration with segments so small that they change all the time.
func imagedText(input, hq, more string) string {
	return fmt.Sprintf(`[queue]
segment_size = "256KiB"
min_free = "1MiB"
[input.app]
type = "http"
listen = %q
[output.hq]
type = "http"
url = "http://%s/"
%s`, input, hq, more)
}

// run takes snapshots under load.
func (i *imaged) run() {
	random := i.Judge.Rand("images " + i.kind)
	i.Start()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		source := rig.HTTPSource{URL: i.url, Source: i.Judge.Source("app"), Every: 3 * time.Millisecond}
		source.Run(ctx)
	}()
	defer func() {
		stop()
		<-ended
	}()
	modes := []disk.Mode{disk.Drop, disk.Mix, disk.Keep}
	for n := range by(1, 18, 300) {
		enough := i.Judge.Owed() + 20 + uint64(random.IntN(1500))
		i.Wait("more is acknowledged", func() bool { return i.Judge.Owed() > enough })
		i.snapshot(n, modes[n%len(modes)], random.Uint64())
		if i.t.Failed() {
			break
		}
	}
	for _, mode := range modes {
		r := i.rows[mode]
		if r == nil {
			continue // a smoke takes one
		}
		outcome := "the journal was replayed, the daemon started by itself, nothing acknowledged was lost"
		if i.t.Failed() {
			outcome = "failed"
		}
		reliability.Add(i.t, reliability.Row{Part: reliability.Images, Fault: fmt.Sprintf("power loss of %s under load, the disk %s what was not flushed", i.kind, did[mode]),
			Outcome: outcome, Tried: r.tried, Lost: r.lost, Altered: r.wrong, Doubled: r.doubled, Back: r.ready})
	}
}

// did says what a disk does to what was not flushed.
var did = map[disk.Mode]string{disk.Drop: "drops", disk.Keep: "keeps", disk.Mix: "mixes"}

// snapshot takes one and judges what a daemon makes of it.
func (i *imaged) snapshot(n int, mode disk.Mode, seed uint64) {
	i.t.Helper()
	name := fmt.Sprintf("snapshot %d", n)
	file, at := filepath.Join(i.dir, name), filepath.Join(i.dir, "copy")
	owed := i.Judge.DestinationAsOfNow(name)
	must(i.t, i.image.Snapshot(file, mode, seed))
	defer func() { must(i.t, os.Remove(file)) }()
	image, err := disk.MountImage(file, i.kind, at)
	must(i.t, err)
	defer func() { must(i.t, image.Close()) }()

	hq := rig.OwnAddress(i.t)
	sink, err := rig.NewHTTPSink(hq, owed.Arrived)
	must(i.t, err)
	defer sink.Close()
	l := rig.NewLab(i.t, i.t.TempDir(), filepath.Join(at, "data"), rig.OwnAddress(i.t), imagedText(rig.OwnAddress(i.t), hq, ""))
	took := l.Start()
	l.Wait("all of the restored queue has been delivered", func() bool { return l.Metric("logmule_output_backlog_records", `output="hq"`) == 0 })
	l.End() // the directory must check clean
	f := i.finding(name)
	if f.Lost.Count+f.Altered.Count+f.Invented.Count+f.Refused.Count+f.Disordered.Count > 0 {
		i.t.Errorf("%s, mode %s, seed %d:\n%s", name, mode, seed, i.Judge.Verdict())
	}
	r := i.rows[mode]
	if r == nil {
		r = &imageRow{}
		i.rows[mode] = r
	}
	r.tried++
	r.lost += f.Lost.Count
	r.wrong += f.Altered.Count + f.Invented.Count + f.Refused.Count
	r.doubled += f.Doubled.Count
	r.ready = max(r.ready, took)
}

// finding is the verdict on one destination.
func (i *imaged) finding(name string) judge.Finding {
	for _, f := range i.Judge.Verdict().Findings {
		if f.Destination == name {
			return f
		}
	}
	return judge.Finding{}
}
