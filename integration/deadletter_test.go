package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"logmule/integration/rig"
)

// fussy is a destination that refuses records that it does not like, and keeps the others.
type fussy struct {
	*httptest.Server
	mu      sync.Mutex
	refuses func(record string) bool
	got     map[string]int
}

func newFussy(t *testing.T, refuses func(record string) bool) *fussy {
	f := &fussy{refuses: refuses, got: map[string]int{}}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away in the middle
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		bad := false
		rig.Lines(body, func(line []byte) { bad = bad || f.refuses(string(line)) })
		if bad {
			http.Error(w, "not to my taste", http.StatusBadRequest)
			return
		}
		rig.Lines(body, func(line []byte) { f.got[string(line)]++ })
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fussy) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuses = func(string) bool { return false }
}

func (f *fussy) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// once fails the test unless exactly these n records have arrived, each once.
func (f *fussy) once(t *testing.T, n int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) != n {
		t.Errorf("%d different records arrived, want %d", len(f.got), n)
	}
	for record, times := range f.got {
		if times != 1 {
			t.Errorf("%q arrived %d times", record, times)
		}
	}
}

const deadLetterConfiguration = `
[input.in]
type = "http"
listen = %q
[output.api]
type = "http"
url = %q
[output.archive]
type = "file"
path = %q
`

// post sends records "record 0" to "record n-1" and waits until all outputs are done with them.
func (l *lab) post(in string, n int) {
	l.t.Helper()
	var body bytes.Buffer
	for i := range n {
		fmt.Fprintf(&body, "record %d\n", i)
	}
	if status, err := rig.Post(l.t.Context(), http.DefaultClient, "http://"+in+"/", body.Bytes()); err != nil || status != http.StatusOK {
		l.t.Fatalf("post: %d, %v", status, err)
	}
	l.wait("every output is done", func() bool { return l.backlogBySurvey() == 0 })
}

// mustRun runs a subcommand that has to succeed, and gives what it printed.
func (l *lab) mustRun(args ...string) string {
	l.t.Helper()
	code, out := l.run(args...)
	if code != 0 {
		l.t.Fatalf("%v exits %d:\n%s", args, code, out)
	}
	return out
}

// A destination that refuses every tenth record: those and no others are dead letters, with the reason. Put back, they
// reach the mended destination, and no other output gets them twice.
func TestDeadLettersComeBack(t *testing.T) {
	const n = 200
	in := freeAddress(t)
	sink := newFussy(t, func(record string) bool { return strings.HasSuffix(record, "7") })
	l := newLab(t, "")
	archive, dead := filepath.Join(l.dir, "archive"), filepath.Join(l.data, "deadletter")
	l.configure(fmt.Sprintf(deadLetterConfiguration, in, sink.URL, archive))
	l.start()
	l.post(in, n)
	sink.once(t, n-n/10)
	if code, out := l.run("replay", dead, "--into", l.data); code != 1 || !strings.Contains(out, "logmule run, process") {
		t.Errorf("beside the daemon replay exits %d:\n%s", code, out)
	}
	l.stop()

	found := 0
	for line := range strings.Lines(l.mustRun("cat", dead, "--format", "json")) {
		var letter struct {
			Payload string
			Fields  []struct {
				Name  string
				Value any
			}
		}
		must(t, json.Unmarshal([]byte(line), &letter))
		about := map[string]any{}
		for _, f := range letter.Fields {
			about[f.Name] = f.Value
		}
		i := 10*found + 7
		if letter.Payload != fmt.Sprintf("record %d", i) || about["deadletter_output"] != "api" || about["deadletter_sequence"] != float64(i+1) ||
			about["deadletter_reason"] != "400 Bad Request: not to my taste" || about["deadletter_time"] == nil {
			t.Errorf("dead letter %d: %s", found, line)
		}
		found++
	}
	if found != n/10 {
		t.Errorf("%d dead letters, want %d", found, n/10)
	}
	if text := l.mustRun("cat", dead, "--to", "1"); !strings.Contains(text, " [api refused record 8 at 20") || !strings.Contains(text, "Z: 400 Bad Request: not to my taste] record 7\n") {
		t.Errorf("cat prints %q", text)
	}
	if page := l.mustRun("stat", l.data); !strings.Contains(page, "\n20 dead letters in "+dead+", 0 replayed; ") {
		t.Errorf("stat prints\n%s", page)
	}
	if page := l.mustRun("fsck", l.data); !strings.Contains(page, "logmule fsck "+dead+"\n") {
		t.Errorf("fsck prints\n%s", page)
	}

	if code, out := l.run("replay", dead, "--into", l.data, "--output", "nobody"); code != 1 || !strings.Contains(out, "--output: api, archive") {
		t.Errorf("for an output that is not there, replay exits %d:\n%s", code, out)
	}
	if out := l.mustRun("replay", dead, "--into", l.data); out != "20 records put back: 20 for api; their sequences are 201 to 220\n" {
		t.Errorf("replay prints %q", out)
	}
	if out := l.mustRun("replay", dead, "--into", l.data); out != "0 records put back; all dead letters, up to number 20, were replayed before\n" {
		t.Errorf("a second replay prints %q", out)
	}
	l.mustRun("fsck", dead)
	if out := l.mustRun("cat", dead); out != "" {
		t.Errorf("what is put back is still there:\n%s", out)
	}
	sink.mend()
	l.start()
	l.wait("the rest has arrived", func() bool { return l.backlogBySurvey() == 0 })
	sink.once(t, n)
	text, err := os.ReadFile(archive)
	must(t, err)
	if lines := bytes.Count(text, []byte("\n")); lines != n {
		t.Errorf("the other output got %d records, want %d", lines, n)
	}
}

// A replay that is killed again and again puts each dead letter back once.
func TestReplayKilled(t *testing.T) {
	const n = 2000
	in := freeAddress(t)
	sink := newFussy(t, func(string) bool { return true })
	l := newLab(t, "")
	dead := filepath.Join(l.data, "deadletter")
	l.configure(fmt.Sprintf(deadLetterConfiguration, in, sink.URL, filepath.Join(l.dir, "archive")))
	l.start()
	l.post(in, n)
	l.stop()
	kills := 0
	for life := float64(time.Millisecond); ; life *= 1.1 { // a little further each time, however slow the machine
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(life))
		cmd := exec.CommandContext(ctx, binary(t), "replay", dead, "--into", l.data)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
		out, err := cmd.CombinedOutput()
		cancel()
		if err == nil {
			t.Logf("after %d kills: %s", kills, out)
			break
		}
		if ctx.Err() == nil {
			t.Fatalf("replay: %v\n%s", err, out)
		}
		kills++
	}
	sink.mend()
	l.start()
	l.wait("all have arrived", func() bool { return l.backlogBySurvey() == 0 && sink.count() == n })
	sink.once(t, n)
}

// A destination that does not know who we are refuses no record for good: all of them wait, few lines are logged, and
// all arrive when it lets us in.
func TestUnauthorizedIsNoDeadLetter(t *testing.T) {
	in := freeAddress(t)
	l := newLab(t, "")
	d := l.judge.Destination("api")
	sink := httpSink(t, "127.0.0.1:0", d.Arrived)
	sink.Answer(func() rig.Answer { return rig.Answer{Status: http.StatusUnauthorized} })
	l.configure(fmt.Sprintf(checkpointConfiguration, in, sink.URL))
	l.start()
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("client"), Batch: 10, Limit: 100}
	if answers := source.Run(t.Context()); answers[200] == 0 {
		t.Fatalf("answers %v", answers)
	}
	l.wait("it was asked a few times", func() bool { return sink.Requests() >= 4 })
	told := 0
	for line := range strings.Lines(l.Proc.Output()) {
		if strings.Contains(line, "401") {
			told++
		}
	}
	if told == 0 || told > 2 {
		t.Errorf("%d lines about 401 after %d requests", told, sink.Requests())
	}
	if _, err := os.Stat(filepath.Join(l.data, "deadletter")); err == nil {
		t.Error("there are dead letters")
	}
	sink.Answer(func() rig.Answer { return rig.Accept })
	l.drained(d)
	l.verdict(0)
	if _, err := os.Stat(filepath.Join(l.data, "deadletter")); err == nil {
		t.Error("there are dead letters")
	}
}
