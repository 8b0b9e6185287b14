package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"logmule/integration/rig"
)

// Inputs are renamed at their address, outputs change, go and come back, files are wrong now and then, all under load: who
// was answered 200 is delivered to every output that is there in the end, once, and whoever kept its section went on.
func TestReloadMovesInputsAndOutputs(t *testing.T) {
	const reloads = 50
	steadyAt, moving, sinkAt, comesAt := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	archive := filepath.Join(t.TempDir(), "archive.log")
	configuration := func(round int) string {
		text := fmt.Sprintf(`
[input.steady]
type = "http"
listen = %q
[input.moving%d]
type = "http"
listen = %q
[output.changing]
type = "http"
url = "http://%s/"
timeout = "%ds"
[output.archive]
type = "file"
path = %q
max_backlog = "%dTiB"
`, steadyAt, round%3, moving, sinkAt, 20+round, archive, 1+round)
		if round%2 == 0 {
			text += fmt.Sprintf("[output.comes]\ntype = \"http\"\nurl = \"http://%s/\"\n", comesAt)
		}
		return text
	}
	l := newLab(t, configuration(0))
	changing, comes, kept := l.judge.Destination("changing"), l.judge.Destination("comes"), l.judge.Destination("archive")
	httpSink(t, sinkAt, changing.Arrived)
	httpSink(t, comesAt, comes.Arrived)
	l.start()

	first := &rig.HTTPSource{URL: "http://" + steadyAt + "/", Source: l.judge.Source("steady"), Batch: 100, Every: time.Millisecond}
	second := &rig.HTTPSource{URL: "http://" + moving + "/", Source: l.judge.Source("moving"), Batch: 100, Every: time.Millisecond}
	stopFirst, stopSecond := background(t, first.Run), background(t, second.Run)
	failed := 0
	for round := 1; round <= reloads; round++ {
		text := configuration(round)
		if round%7 == 0 {
			text += bad[round%len(bad)]
			failed++
		}
		l.configure(text)
		owed := l.judge.Owed()
		must(t, l.Proc.Signal(syscall.SIGHUP))
		l.wait(fmt.Sprintf("reload %d is done", round), func() bool {
			return l.metric("logmule_reloads_total", `result="ok"`) == round-failed && l.metric("logmule_reloads_total", `result="failed"`) == failed
		})
		l.wait("ingest goes on", func() bool { return l.judge.Owed() > owed })
	}
	for status, n := range stopFirst() {
		if status != http.StatusOK {
			t.Errorf("the input that never changed answered %d, %d times", status, n)
		}
	}
	t.Logf("answers of the input that moved: %v", stopSecond())
	l.configure(configuration(0))
	must(t, l.Proc.Signal(syscall.SIGHUP))
	l.drained(changing)
	l.drained(comes)
	l.wait("the archive is complete", func() bool { return l.metric("logmule_output_backlog_records", `output="archive"`) == 0 })
	l.stop()
	text, err := os.ReadFile(archive)
	must(t, err)
	for line := range bytes.Lines(text) {
		kept.Arrived(bytes.TrimSuffix(line, []byte("\n")))
	}
	l.verdict(0)
}
