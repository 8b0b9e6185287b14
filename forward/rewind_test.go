package forward

import (
	"regexp"
	"slices"
	"testing"
	"testing/synctest"

	"logmule/checkpoint"
	"logmule/queue"
)

// offline is what a command needs to open the rig's queue.
func (r *rig) offline(dir string) queue.Options {
	return queue.Options{Dir: dir, FS: r.fs, OpenStore: func(path string) (checkpoint.Store, []checkpoint.Problem, error) {
		if r.stores[path] == nil {
			r.stores[path] = checkpoint.NewMemory()
		}
		return r.stores[path].Reopen(), nil, nil
	}}
}

// TestRewoundBatchesAreNoRepeats: a destination that remembers the ids of batches takes what an operator wants sent again.
func TestRewoundBatchesAreNoRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.cfg.Queue.KeepFor = 1 << 60
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		in.send(t, "one", "two")
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		r.mustStop()
		done, err := queue.Rewind(r.offline("/data"), "out", queue.Target{Oldest: true})
		if err != nil || done.Again != 2 {
			t.Fatalf("%+v, %v", done, err)
		}
		in.up = make(chan struct{})
		r.start()
		eventually(t, "done again", func() bool { return len(out.records()) == 4 })
		r.mustStop()
		expect(t, "sent", out.records(), []string{"one", "two", "one", "two"})
		out.ids = slices.DeleteFunc(out.ids, func(id string) bool { return id == "" })
		if len(out.ids) != 2 || out.ids[0] == out.ids[1] || !regexp.MustCompile(`^[0-9a-f-]{36}-1\.[0-9a-f]{16}-s1-1-2$`).MatchString(out.ids[1]) {
			t.Errorf("ids %q", out.ids)
		}
	})
}
