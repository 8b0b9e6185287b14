package torture

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"logmule/integration/disk"
	"logmule/integration/rig"
)

// TestPostsWhileTheDiskRefuses: whoever posts while the disk refuses data is told so, and nothing of that is ever stored. A post
// that was accepted before anybody knew waits, and is stored.
func TestPostsWhileTheDiskRefuses(t *testing.T) {
	need(t, disk.Available())
	t.Parallel()
	d := faultDisk(t)
	address, out := rig.OwnAddress(t), filepath.Join(t.TempDir(), "out.log")
	l := newLabAt(t, filepath.Join(d.Path(), "data"), fmt.Sprintf("[input.http]\ntype = \"http\"\nlisten = %q\n[output.file]\ntype = \"file\"\npath = %q\n", address, out))
	l.Start()
	client := &http.Client{Timeout: rig.Patience}
	post := func(record string) int {
		status, err := rig.Post(t.Context(), client, "http://"+address+"/", []byte(record+"\n"))
		if err != nil {
			t.Error(err)
		}
		return status
	}
	if status := post("before"); status != http.StatusOK {
		t.Fatalf("a post to a good disk is answered %d", status)
	}
	_, err := d.Fail(on(disk.Write, segments, fails(syscall.EIO)))
	must(t, err)
	accepted := make(chan int, 1)
	go func() { accepted <- post("accepted") }()
	l.Wait("/readyz answers 503", func() bool {
		status, _, err := l.Proc.Get("/readyz")
		return err == nil && status == http.StatusServiceUnavailable
	})
	if status := post("refused"); status != http.StatusServiceUnavailable {
		t.Errorf("a post while the disk refuses is answered %d, want 503", status)
	}
	must(t, d.Clear())
	want := "before\n"
	switch status := <-accepted; status {
	case http.StatusOK:
		want += "accepted\n"
	case http.StatusServiceUnavailable: // the disk refused a position of the output before this came to the queue
	default:
		t.Errorf("the post that met the first refusal is answered %d, want 200 or 503", status)
	}
	if status := post("after"); status != http.StatusOK {
		t.Errorf("a post after that is answered %d, want 200", status)
	}
	var got string
	l.Wait("all that was stored arrives", func() bool {
		b, err := os.ReadFile(out)
		got = string(b)
		return err == nil && strings.HasSuffix(got, "after\n")
	})
	if want += "after\n"; got != want {
		t.Errorf("stored is %q, want %q", got, want)
	}
}
