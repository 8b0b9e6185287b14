package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/integration/rig"
)

// SIGTERM in the middle of everything: exit 0, and what was acknowledged is there after the next start.
func TestStopDuringIngest(t *testing.T) {
	in := freeAddress(t)
	l := newLab(t, "")
	d := l.judge.Destination("out")
	sink := httpSink(t, "127.0.0.1:0", d.Arrived)
	l.configure(fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n[output.out]\ntype = \"http\"\nurl = %q\n", in, sink.URL))
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("client"), Every: time.Millisecond}
	stop := background(t, source.Run)
	for range 3 {
		l.start()
		owed := l.judge.Owed()
		l.wait("records are stored", func() bool { return l.judge.Owed() > owed+1000 })
		l.stop()
	}
	l.start()
	t.Logf("answers to the client: %v", stop())
	l.drained(d)
	l.verdict(0) // a clean stop checkpoints: nothing goes out twice
}

// An output that waits for its dead destination does not hold up the end.
func TestStopDoesNotWaitForBackOff(t *testing.T) {
	in, out := freeAddress(t), freeAddress(t)
	l := newLab(t, fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n[output.out]\ntype = \"http\"\nurl = \"http://%s/\"\n", in, out))
	d := l.judge.Destination("out")
	l.start()
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("client"), Limit: 1000}
	source.Run(t.Context())
	start := time.Now()
	l.stop()
	took := time.Since(start)
	t.Logf("stopped within %v", took)
	if took > 15*time.Second { // less than shutdown_timeout here, which is 20 s
		t.Errorf("the stop took %v", took)
	}
	httpSink(t, out, d.Arrived)
	l.start()
	l.drained(d)
	l.verdict(0)
}

// A request whose body is under way when the stop comes gets a true answer: 200 and it is stored, or 503 and it is not.
func TestStopAnswersRequests(t *testing.T) {
	in := freeAddress(t)
	arrived := new(gathered)
	l := newLab(t, fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n[output.out]\ntype = \"http\"\nurl = %q\n", in, httpSink(t, "127.0.0.1:0", arrived.add).URL))
	l.start()
	c, err := net.Dial("tcp", in)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 24\r\n\r\nfirst half, ")
	must(t, err)
	l.wait("the request is under way", func() bool { return l.metric(openConnections, `input="in"`) == 1 })
	must(t, l.Proc.Signal(syscall.SIGTERM))
	l.wait("it listens no more", func() bool {
		c, err := net.Dial("tcp", in)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	_, _ = fmt.Fprint(c, "second half\n") // fails where the request was cut, which the answer tells
	answer, _ := io.ReadAll(c)
	stored := strings.HasPrefix(string(answer), "HTTP/1.1 200 ")
	if !stored && !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") {
		t.Errorf("the request under way was answered %q, want 200 or 503", answer)
	}
	code, err := l.Proc.Wait(patience)
	if err != nil || code != 0 {
		t.Errorf("exit %d, %v", code, err)
	}
	l.start()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if status, err := rig.Post(t.Context(), client, "http://"+in+"/", []byte("after it\n")); err != nil || status != http.StatusOK {
		t.Fatalf("post: %d, %v", status, err)
	}
	l.wait("the next record arrives", func() bool { return arrived.has("after it") })
	if arrived.has("first half, second half") != stored {
		t.Errorf("answered %.12q, and stored is %v", answer, !stored)
	}
}

// A second signal ends the daemon at once, also while it waits for a request that never finishes.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	in := freeAddress(t)
	l := newLab(t, fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n[output.screen]\ntype = \"stdout\"\n", in))
	l.start()
	c, err := net.Dial("tcp", in)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
	must(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if status, err := rig.Post(t.Context(), client, "http://"+in+"/", []byte("stored\n")); err != nil || status != http.StatusOK {
		t.Fatalf("post: %d, %v", status, err)
	}
	must(t, l.Proc.Signal(syscall.SIGTERM))
	l.wait("it listens no more", func() bool {
		c, err := net.Dial("tcp", in)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	start := time.Now()
	_ = l.Proc.Signal(syscall.SIGTERM) // it may have ended already
	if _, err := l.Proc.Wait(patience); err != nil {
		t.Error(err)
	}
	t.Logf("ended %v after the second signal", time.Since(start))
	if code, out := l.run("cat", l.data, "--format", "raw"); code != 0 || !strings.Contains(out, "stored\n") {
		t.Errorf("cat exits %d:\n%s", code, out)
	}
}
