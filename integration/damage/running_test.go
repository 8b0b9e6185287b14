package damage

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestDeletedWhileRunning deletes the open segment under a queue that runs: the queue goes on, nobody who reads at that moment misses
// anything, and the next start has all of it.
func TestDeletedWhileRunning(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	disk, store := faultfs.New(), checkpoint.NewMemory()
	open := func() *queue.Queue {
		t.Helper()
		q, err := queue.Open(queue.Options{
			Dir: dataDir, FS: disk, SegmentSize: 64 << 10, MinFree: -1, NoReserve: true, KeepFor: time.Hour,
			OpenStore: func(string) (checkpoint.Store, []checkpoint.Problem, error) { return store.Reopen(), nil, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := open()
	add := func(n int) (last uint64) {
		t.Helper()
		for range n {
			body := fmt.Appendf(nil, "record %d\n", last)
			var err error
			if last, err = q.Append(ctx, []segment.Run{{Form: segment.Lines, Count: 1, Raw: uint32(len(body)), Body: body}}); err == nil {
				err = q.WaitDurable(ctx, last)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return last
	}
	r := q.Reader("a", queue.Oldest)
	add(5)
	infos, err := disk.ReadDir(filepath.Join(dataDir, recovery.SegmentDir))
	if err != nil || len(infos) != 1 {
		t.Fatalf("%d segments, %v", len(infos), err)
	}
	if err := disk.Remove(filepath.Join(dataDir, recovery.SegmentDir, infos[0].Name())); err != nil {
		t.Fatal(err)
	}
	last := add(5)
	var f segment.Frame
	for next := uint64(1); next <= last; next = f.Last() + 1 {
		if lost, err := r.Next(ctx, &f); err != nil || lost.Last > 0 || f.First != next {
			t.Fatalf("the reader gets record %d, want %d; lost %v, %v", f.First, next, lost, err)
		}
	}
	r.Done(nil, checkpoint.Range{First: 1, Last: 3})
	if err := q.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	q = open()
	defer func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}()
	r = q.Reader("a", queue.Oldest)
	for next := uint64(4); next <= last; next = f.Last() + 1 {
		if lost, err := r.Next(ctx, &f); err != nil || lost.Last > 0 || f.First != next {
			t.Fatalf("after a start the reader gets record %d, want %d; lost %v, %v", f.First, next, lost, err)
		}
	}
	if again := add(1); again != last+1 {
		t.Errorf("record %d is appended after a start, %d was the last", again, last)
	}
}
