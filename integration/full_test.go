package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

const (
	smallDisk  = 64 << 20
	fullRecord = 1000
	fullBatch  = 50
)

// fullLab is a logmule whose data directory is a tmpfs of 64 MiB, and whose destination is down.
func fullLab(t *testing.T, whenFull string) (l *lab, disk, in, out string) {
	t.Helper()
	disk = tmpfs(t, smallDisk)
	in, out = freeAddress(t), freeAddress(t)
	l = newLabAt(t, t.TempDir(), filepath.Join(disk, "data"), fmt.Sprintf(`
[queue]
segment_size = "4MiB"
min_free = "1MiB"
when_full = %q
compression = "none"
[input.in]
type = "http"
listen = %q
[input.plain]
type = "tcp"
listen = %q
[output.out]
type = "http"
url = "http://%s/logs"
`, whenFull, in, freeAddress(t), out))
	return l, disk, in, out
}

func (l *lab) poster(name, in string) *rig.HTTPSource {
	return &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source(name), Batch: fullBatch, Size: fullRecord, Every: time.Millisecond, Wait: patience}
}

// status asks the admin listener for the status of a page alone.
func (l *lab) status(page string) int {
	status, _, err := l.Proc.Get(page)
	if err != nil {
		return 0
	}
	return status
}

// goesOn waits for the next acknowledgement and prints how long after space came back it was.
func (l *lab) goesOn(s *judge.Source) {
	l.t.Helper()
	back, owed := time.Now(), s.Owed()
	l.wait("ingest goes on", func() bool { return s.Owed() > owed })
	took := time.Since(back)
	l.t.Logf("goes on %v after space came back", took)
	if took > patience/2 {
		l.t.Errorf("went on %v after space came back", took)
	}
}

// refuses posts a batch, which must be answered with 503 and the time to try again.
func (l *lab) refuses(in, name string) {
	l.t.Helper()
	s := l.judge.Source(name)
	record, n := s.Append(nil, fullRecord)
	start := time.Now()
	resp, err := http.Post("http://"+in+"/", "text/plain", bytes.NewReader(append(record, '\n')))
	must(l.t, err)
	must(l.t, resp.Body.Close())
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		l.t.Errorf("a post to the full queue is answered %s, Retry-After %q, want 503 with it", resp.Status, resp.Header.Get("Retry-After"))
	}
	s.Refused(n, n)
	l.t.Logf("refused %v after the post", time.Since(start))
}

// ledger sums the counts of the loss ledger.
func (l *lab) ledger() (records uint64) {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(l.data, "losses.jsonl"))
	if err != nil && !os.IsNotExist(err) {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var loss struct{ Count uint64 }
		must(l.t, json.Unmarshal([]byte(line), &loss))
		records += loss.Count
	}
	return records
}

// Somebody else takes all the room: ingest is refused, nothing breaks, and it goes on when the room is back.
func TestFullDiskBlocks(t *testing.T) {
	l, disk, in, out := fullLab(t, "block")
	d := l.judge.Destination("out")
	l.start()
	s := l.poster("client", in)
	stop := background(t, s.Run)
	for round := range 2 {
		owed := s.Source.Owed()
		l.wait("records are stored", func() bool { return s.Source.Owed() >= owed+1000 })
		empty, err := rig.Fill(disk, int64(round)*512<<10) // to the last byte; then to below min_free
		must(t, err)
		l.wait("/readyz says 503", func() bool { return l.status("/readyz") == http.StatusServiceUnavailable })
		l.refuses(in, fmt.Sprintf("refused-%d", round))
		if status := l.status("/healthz"); status != http.StatusOK {
			t.Errorf("/healthz says %d while the disk is full", status)
		}
		empty()
		l.goesOn(s.Source)
		l.wait("/readyz says 200", func() bool { return l.status("/readyz") == http.StatusOK })
	}
	l.wait("its own backlog fills the disk", func() bool { return l.status("/readyz") == http.StatusServiceUnavailable })
	if free, err := rig.Free(disk); err != nil || free < 1<<20 {
		t.Errorf("%d bytes free, %v; min_free is 1 MiB", free, err)
	}
	sink := httpSink(t, out, d.Arrived)
	owed := s.Source.Owed()
	l.wait("ingest goes on", func() bool { return s.Source.Owed() > owed+1000 })
	t.Logf("answers to the client: %v", stop())
	l.drained(d)
	l.verdict(sink.Largest())
	if n := l.ledger(); n != 0 {
		t.Errorf("%d records in the loss ledger", n)
	}
}

// drop_newest: what is refused or not stored is counted, and nothing else is missing.
func TestFullDiskDropsNewest(t *testing.T) {
	l, disk, in, out := fullLab(t, "drop_newest")
	d := l.judge.Destination("out")
	l.start()
	s := l.poster("client", in)
	stop := background(t, s.Run)
	l.wait("records are stored", func() bool { return s.Source.Owed() >= 1000 })
	empty, err := rig.Fill(disk, 0)
	must(t, err)
	l.wait("records are dropped", func() bool { return l.metric(droppedRecords, "drop_") >= 5*fullBatch })
	empty()
	l.goesOn(s.Source)
	answers := stop()
	httpSink(t, out, d.Arrived)
	l.drained(d)
	l.verdict(0)
	f := l.judge.Verdict().Findings[0]
	dropped := uint64(l.metric(droppedRecords, "drop_"))
	if missing := f.Sent - f.Arrived; dropped != missing {
		t.Errorf("%d records dropped by the counter, %d missing; answers %v", dropped, missing, answers)
	}
	l.wait("the loss ledger has what was dropped", func() bool { return l.ledger() == dropped })
}

// drop_oldest: everything is taken, the oldest goes; the counter and the ledger say how much.
func TestFullDiskDropsOldest(t *testing.T) {
	l, disk, in, out := fullLab(t, "drop_oldest")
	d := l.judge.Destination("out")
	l.start()
	s := l.poster("client", in)
	stop := background(t, s.Run)
	l.wait("records are dropped", func() bool { return l.metric(droppedRecords, "drop_") > 0 })
	empty, err := rig.Fill(disk, 0)
	must(t, err)
	dropped := l.metric(droppedRecords, "drop_")
	l.wait("more is dropped", func() bool { return l.metric(droppedRecords, "drop_") > dropped })
	empty()
	l.goesOn(s.Source)
	answers := stop()
	l.wait("dropping ends", func() bool {
		now := l.metric(droppedRecords, "drop_")
		same := now == dropped
		dropped = now
		return same
	})
	httpSink(t, out, d.Arrived)
	l.wait("the backlog has drained", func() bool { return l.metric(backlogRecords) == 0 })
	f := l.judge.Verdict().Findings[0]
	missing := int(f.Lost.Count)
	if lost := l.metric(lostRecords, `output="out"`); missing != lost || missing == 0 {
		t.Errorf("%d records lost by the counter of the output, %d missing\n%s", lost, missing, l.judge.Verdict())
	}
	if dropped != missing {
		t.Errorf("%d records dropped by the counter of the queue, %d missing", dropped, missing)
	}
	if f.Altered.Count+f.Invented.Count+f.Refused.Count+f.Disordered.Count+f.Doubled.Count > 0 {
		t.Error(l.judge.Verdict())
	}
	if n := l.ledger(); n != uint64(dropped) {
		t.Errorf("%d records in the loss ledger, %d dropped", n, dropped)
	}
	t.Logf("answers %v, %d records dropped", answers, dropped)
}

// While the disk is full to the last byte, delivery goes on and is remembered over a kill.
func TestCheckpointsAreWrittenWhileFull(t *testing.T) {
	l, disk, in, out := fullLab(t, "block")
	d := l.judge.Destination("out")
	l.start()
	s := l.poster("client", in)
	s.Limit = 2000 // half a segment: nothing is trimmed when it is delivered
	s.Run(t.Context())
	empty, err := rig.Fill(disk, 0)
	must(t, err)
	httpSink(t, out, d.Arrived)
	l.drained(d)
	l.wait("the checkpoint is durable", func() bool { return l.backlogBySurvey() == 0 })
	l.Proc.Kill()
	l.launch()
	l.wait("the daemon answers on the full disk", func() bool { return l.status("/healthz") == http.StatusOK })
	l.wait("nothing is left to send", func() bool { return l.metric(backlogRecords) == 0 })
	emptyToo, err := rig.Fill(disk, 0) // what the reserve has given back
	must(t, err)
	l.Proc.Kill()
	l.launch()
	l.wait("the daemon answers on the full disk, without a reserve", func() bool { return l.status("/healthz") == http.StatusOK })
	emptyToo()
	empty()
	l.wait("/readyz says 200", func() bool { return l.status("/readyz") == http.StatusOK })
	owed := s.Source.Owed()
	s.Limit = 4000
	s.Run(t.Context())
	if s.Source.Owed() == owed {
		t.Error("nothing was acknowledged after space came back")
	}
	l.drained(d)
	l.verdict(0)
}
