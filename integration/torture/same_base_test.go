package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

// The measures of the comparison.
const (
	sameRecord = 256
	sameBatch  = 100 // records of a request, which become a frame
	sameBefore = 1000
)

// sameSegments is the size of segments. 64 MiB, the default, would put all of the backlog into one file.
func sameSegments() string { return fmt.Sprintf("segment_size = %q", by("1MiB", "8MiB", "8MiB")) }

// sameBase is a data directory with a reader position and a backlog, as one end of the daemon left it.
type sameBase struct {
	data, state string // the directory, and the files of state as they were when half of what is delivered was
	seed        uint64
	records     uint64 // in all
	delivered   uint64 // of them, the first
	kill        bool   // it was ended with SIGKILL
	queue       string // keys of [queue]
	files       []string
}

// baseName is the source of its records.
const baseName = "base"

// stateFiles are those that keep positions beside the log.
var stateFiles = []string{"checkpoints.db", "checkpoints.recent"}

func sameText(in, out, queue string) string {
	return fmt.Sprintf(`
[log]
format = "json"
[queue]
compression = "none"
%s
[input.in]
type = "http"
listen = %q
[output.out]
type = "http"
url = "http://%s/logs"
`, queue, in, out)
}

// newSameBase makes one with so many records in the backlog.
func newSameBase(t *testing.T, kill bool, backlog uint64, queue string) *sameBase {
	t.Helper()
	in, out := rig.OwnAddress(t), rig.OwnAddress(t)
	l := newLab(t, sameText(in, out, queue))
	b := &sameBase{data: l.Data, state: t.TempDir(), seed: l.Judge.Seed(), records: sameBefore + backlog, delivered: sameBefore, kill: kill, queue: queue}
	d := l.Judge.Destination("out")
	sink, err := rig.NewHTTPSink(out, d.Arrived)
	must(t, err)
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.Judge.Source(baseName), Batch: sameBatch, Size: sameRecord}
	post := func(until uint64) {
		t.Helper()
		source.Limit = until
		source.Run(t.Context())
		if owed := source.Source.Owed(); owed != until {
			t.Fatalf("%d of %d records were acknowledged", owed, until)
		}
	}
	for _, until := range []uint64{sameBefore / 2, sameBefore} {
		l.Start()
		post(until)
		l.Drained(d)
		l.Stop()
		if until < sameBefore {
			must(t, copyFiles(b.state, l.Data, stateFiles))
		}
	}
	sink.Close()
	l.Start()
	post(b.records)
	if kill {
		l.Proc.Kill()
	} else {
		l.Stop()
	}
	files, err := filepath.Glob(filepath.Join(l.Data, "segments", segments))
	must(t, err)
	for _, path := range files { // an empty one may be there beside those with records
		text, err := os.ReadFile(path)
		must(t, err)
		if all, _ := framesOf(text); slices.ContainsFunc(all, func(f frameSpan) bool { return f.kind == ofData }) {
			b.files = append(b.files, filepath.Base(path))
		}
	}
	slices.Sort(b.files)
	return b
}

// judge makes the judge of a copy: it knows every record of the base, which all were acknowledged.
func (b *sameBase) judge() *judge.Judge {
	j := judge.New(b.seed)
	if b.seed == 0 { // there is no base: its records are still to be sent
		return judge.New(judge.Seed())
	}
	s := j.Source(baseName)
	var record []byte
	for range b.records {
		record, _ = s.Append(record[:0], sameRecord)
	}
	s.Acknowledged(1, b.records)
	return j
}

func copyFiles(to, from string, names []string) error {
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
