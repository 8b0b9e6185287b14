package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"logmule/integration/rig"
)

// A destination that drops what it knows by its id is sent records again because an operator wants it, after a kill: it
// takes them, once.
func TestRewindIsNoRepeat(t *testing.T) {
	in := freeAddress(t)
	l := newLab(t, "")
	arrived := new(gathered)
	sink := httpSink(t, "127.0.0.1:0", arrived.add)
	sink.Once()
	l.configure("[queue]\nkeep_size = \"64MiB\"\n" + fmt.Sprintf(checkpointConfiguration, in, sink.URL))
	l.start()
	l.post(in, 300)
	l.Proc.Kill()
	if out := l.mustRun("rewind", l.data, "out", "--to", "oldest"); !strings.HasPrefix(out, "out: position 1, was 301; 300 records to be sent, 300 of them again, the first of 20") {
		t.Errorf("rewind prints %q", out)
	}
	l.mustRun("fsck", l.data, "--deep")
	l.start()
	l.wait("all are sent again", func() bool { return l.backlogBySurvey() == 0 })
	l.stop()
	times := map[string]int{}
	rig.Lines(arrived.bytes(), func(line []byte) { times[string(line)]++ })
	if n := sink.Repeats(); n != 0 || len(times) != 300 {
		t.Errorf("%d batches taken for repeats, %d different records", n, len(times))
	}
	for i := range 300 {
		if record := fmt.Sprintf("record %d", i); times[record] != 2 {
			t.Errorf("%q arrived %d times", record, times[record])
		}
	}
}

// A disk that a dead destination has filled to the last byte: what waits for it is skipped, and that makes room.
func TestRewindMakesRoom(t *testing.T) {
	l, disk, in, out := fullLab(t, "block")
	l.start()
	stop := background(t, l.poster("before", in).Run)
	l.wait("the queue is full", func() bool { return l.status("/readyz") == http.StatusServiceUnavailable })
	stop()
	l.Proc.Kill()
	empty, err := rig.Fill(disk, 0)
	must(t, err)
	said := l.mustRun("rewind", l.data, "out", "--to", "newest")
	if !strings.Contains(said, "no record waits to be sent; SKIPPED ") {
		t.Errorf("rewind prints %q", said)
	}
	arrived := new(gathered)
	httpSink(t, out, arrived.add)
	l.start()
	l.wait("there is room again", func() bool {
		status, err := rig.Post(t.Context(), http.DefaultClient, "http://"+in+"/", []byte("the next one\n"))
		return err == nil && status == http.StatusOK
	})
	l.wait("what comes next arrives", func() bool { return arrived.has("the next one") })
	rig.Lines(arrived.bytes(), func(line []byte) {
		if string(line) != "the next one" {
			t.Errorf("%.40q was skipped and has arrived", line)
		}
	})
	empty()
}
