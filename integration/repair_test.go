package integration

import (
	"bytes"
	"context"
	little "encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"logmule/integration/rig"
)

// numbered is a queue of records that are numbered as their sequences are, in many small segments, whose output is away.
type numbered struct {
	*lab
	in, out string
	posted  int
}

func newNumbered(t *testing.T) *numbered {
	n := &numbered{in: freeAddress(t), out: freeAddress(t)}
	n.lab = newLab(t, fmt.Sprintf(`
[queue]
segment_size = "256KiB"
compression = "none"
[input.in]
type = "http"
listen = %q
[output.out]
type = "http"
url = "http://%s/"
`, n.in, n.out))
	n.start()
	return n
}

// post posts records in frames of their own, one post after the other, each acknowledged.
func (n *numbered) post(count int) {
	n.t.Helper()
	for range count {
		var body []byte
		for range 5 {
			n.posted++
			body = fmt.Appendf(body, "%d %s\n", n.posted, strings.Repeat(string(rune('a'+n.posted%26)), 700+n.posted%97))
		}
		code, err := rig.Post(context.Background(), http.DefaultClient, "http://"+n.in+"/", body)
		must(n.t, err)
		if code != http.StatusOK {
			n.t.Fatalf("a post is answered %d", code)
		}
	}
}

// segments are the files of the queue, oldest first.
func (n *numbered) segments() []string {
	n.t.Helper()
	all, err := filepath.Glob(filepath.Join(n.data, "segments", "*.seg"))
	must(n.t, err)
	return all
}

func (n *numbered) edit(name string, change func([]byte) []byte) {
	n.t.Helper()
	b, err := os.ReadFile(name)
	must(n.t, err)
	must(n.t, os.WriteFile(name, change(b), 0o600))
}

// lost are the sequences in the loss ledger.
func (n *numbered) lost() map[int]bool {
	n.t.Helper()
	lost := map[int]bool{}
	b, err := os.ReadFile(filepath.Join(n.data, "losses.jsonl"))
	must(n.t, err)
	for line := range bytes.Lines(b) {
		var loss struct{ First, Last, Count int }
		must(n.t, json.Unmarshal(line, &loss))
		if loss.First == 0 {
			continue
		}
		for s := loss.First; s <= loss.Last; s++ {
			if lost[s] {
				n.t.Errorf("record %d is in the ledger twice", s)
			}
			lost[s] = true
		}
	}
	return lost
}

// files are all files of the data directory, with what is in them.
func (n *numbered) files() map[string]string {
	n.t.Helper()
	all := map[string]string{}
	must(n.t, filepath.WalkDir(n.data, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	}))
	return all
}

func (n *numbered) exits(want int, args ...string) string {
	n.t.Helper()
	code, out := n.run(args...)
	if code != want {
		n.t.Fatalf("%v exits %d, want %d:\n%s", args, code, want, out)
	}
	return out
}

// damage hurts the queue in every way that a repair has to do with.
func (n *numbered) damage() {
	n.t.Helper()
	all := n.segments()
	if len(all) < 8 {
		n.t.Fatalf("only %d segments", len(all))
	}
	n.edit(all[0], func(b []byte) []byte { b[20000] ^= 1; return b })          // heals
	n.edit(all[1], func(b []byte) []byte { clear(b[50000:70000]); return b })  // more than parity gives back
	n.edit(all[2], func(b []byte) []byte { clear(b[len(b)-4096:]); return b }) // the trailer
	must(n.t, os.Remove(all[3]))                                               // all of it
	n.edit(all[4], func(b []byte) []byte { clear(b[:4096]); return b })        // the header
	must(n.t, os.Rename(all[5], all[5]+".x"))                                  // the names of two
	must(n.t, os.Rename(all[6], all[5]))                                       // ...
	must(n.t, os.Rename(all[5]+".x", all[6]))                                  // ...
	n.edit(all[len(all)-1], func(b []byte) []byte { return append(b, "what a crash leaves"...) })
	n.edit(filepath.Join(n.data, "checkpoints.db"), func(b []byte) []byte { copy(b[8192:], strings.Repeat("noise", 5000)); return b })
}

// A queue that is hurt in many ways is repaired, and everything that survives is delivered: exactly what the ledger does not tell of.
func TestRepairAndDeliver(t *testing.T) {
	n := newNumbered(t)
	n.post(600)
	n.exits(8, "fsck", n.data, "--repair")
	if out := n.exits(8, "fsck", n.data, "--repair"); !strings.Contains(out, "LOCK") || !strings.Contains(out, "stop the daemon") {
		t.Errorf("of the running daemon it says: %s", out)
	}
	must(t, n.Proc.Signal(syscall.SIGKILL))
	_, err := n.Proc.Wait(patience)
	must(t, err)
	n.damage()

	n.exits(4, "fsck", n.data)
	page := n.exits(1, "fsck", n.data, "--repair")
	n.exits(0, "fsck", n.data)
	n.exits(0, "fsck", n.data, "--deep")
	was := n.files()
	n.exits(0, "fsck", n.data, "--repair")
	if now := n.files(); !equalFiles(was, now) {
		t.Error("the second repair has changed something")
	}
	var report struct {
		Clean, Repaired bool
		Damage          []any
	}
	n.json(&report, "fsck", n.data, "--repair", "--json")
	if !report.Clean || report.Repaired || len(report.Damage) > 0 {
		t.Errorf("the third repair says %+v", report)
	}
	lost := n.lost()
	if len(lost) == 0 || len(lost) > n.posted/2 {
		t.Errorf("%d of %d records are lost", len(lost), n.posted)
	}

	ledger := was[filepath.Join(n.data, "losses.jsonl")]
	var mu sync.Mutex // guards seen
	seen := map[int]int{}
	n.start()
	httpSink(t, n.out, func(record []byte) {
		var number int
		var text string
		if _, err := fmt.Sscanf(string(record), "%d %s", &number, &text); err != nil || len(text) != 700+number%97 {
			t.Errorf("an altered record arrives: %.40q", record)
		}
		mu.Lock()
		seen[number]++
		mu.Unlock()
	})
	n.post(10)
	n.wait("all survivors have arrived", func() bool { return n.backlogBySurvey() == 0 })
	n.stop()
	mu.Lock()
	defer mu.Unlock()
	for s := 1; s <= n.posted; s++ {
		if (seen[s] > 0) == lost[s] {
			t.Fatalf("record %d: delivered %d times, in the ledger %v\n%s", s, seen[s], lost[s], page)
		}
	}
	if now := n.files()[filepath.Join(n.data, "losses.jsonl")]; now != ledger {
		t.Errorf("the daemon has added to the ledger: %s", strings.TrimPrefix(now, ledger))
	}
}

func equalFiles(a, b map[string]string) bool {
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		names = append(names, name)
	}
	return !slices.ContainsFunc(names, func(name string) bool { return a[name] != b[name] })
}

// A segment of a newer logmule is no damage: the repair refuses, and touches nothing.
func TestRepairRefusesNewerFormats(t *testing.T) {
	n := newNumbered(t)
	n.post(200)
	n.stop()
	all := n.segments()
	n.edit(all[0], func(b []byte) []byte { b[20000] ^= 1; return b })
	n.edit(all[1], func(b []byte) []byte {
		const incompat, sum = 24, 4092
		b[incompat] |= 4
		little.LittleEndian.PutUint32(b[sum:], crc32.Checksum(b[:sum], crc32.MakeTable(crc32.Castagnoli)))
		return b
	})
	was := n.files()
	if out := n.exits(8, "fsck", n.data, "--repair"); !strings.Contains(out, filepath.Base(all[1])) || !strings.Contains(out, "newer") {
		t.Errorf("it says: %s", out)
	}
	if now := n.files(); !equalFiles(was, now) {
		t.Error("it has changed something")
	}
	// The laboratory ends with an fsck that has to find nothing.
	n.edit(all[1], func(b []byte) []byte {
		const incompat, sum = 24, 4092
		b[incompat] = 0
		little.LittleEndian.PutUint32(b[sum:], crc32.Checksum(b[:sum], crc32.MakeTable(crc32.Castagnoli)))
		return b
	})
	n.exits(1, "fsck", n.data, "--repair")
}
