package forward

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// letters reads all dead letters of a stopped rig.
func (r *rig) letters() []pack.Record {
	r.t.Helper()
	q, err := r.open(queue.Options{Dir: "/data/deadletter"})
	if err != nil {
		r.t.Fatal(err)
	}
	defer q.Close()
	f := &cutter{feed: &feed{reader: q.Reader("test", queue.Oldest)}, limit: defaultBatch}
	var all []pack.Record
	var b output.Batch
	for {
		if err := f.fill(&b); err != nil {
			r.t.Fatal(err)
		}
		if b.Len() == 0 {
			return all
		}
		for i := range b.Len() {
			record := recordOf(r.t, &b, i)
			record.Payload = []byte(string(record.Payload)) // the frame is used again
			all = append(all, record)
		}
	}
}

func field(r pack.Record, name string) any {
	for _, f := range r.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

func TestRejectedRecordsBecomeDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("api", out.build)
		out.send = func(_ context.Context, b *output.Batch) error {
			for i := range b.Len() {
				if record := recordOf(t, b, i); strings.HasSuffix(string(record.Payload), "7") {
					b.Reject(i, "400: "+string(record.Payload))
				}
			}
			out.take(b, 0, b.Len())
			return nil
		}
		r.start()
		if _, err := r.fs.Stat("/data/deadletter"); err == nil {
			t.Error("the dead-letter queue is there before it is needed")
		}
		in.send(t, numbered(0, 1000)...)
		in.send(t, numbered(1000, 1000)...)
		eventually(t, "everything is done", func() bool { return r.output("api").BacklogRecords == 0 })
		if o := r.output("api"); o.Records != 1800 || o.DeadLetters != 200 || o.Position != 2001 || o.State != stateIdle || o.Retries != 0 {
			t.Errorf("status: %+v", o)
		}
		if n := len(out.records()); n != 1800 {
			t.Errorf("%d records delivered", n)
		}
		r.mustStop()
		letters := r.letters()
		if len(letters) != 200 {
			t.Fatalf("%d dead letters, want 200", len(letters))
		}
		for i, l := range letters {
			want := numbered(10*i+7, 1)[0]
			if string(l.Payload) != want || l.Type != "app" || l.Hostname != "here" || l.Severity != 7 || l.Timestamp != 1 {
				t.Errorf("dead letter %d: %+v", i, l)
			}
			if field(l, "deadletter_output") != "api" || field(l, "deadletter_reason") != "400: "+want || field(l, "deadletter_sequence") != int64(10*i+8) {
				t.Errorf("dead letter %d says %+v", i, l.Fields)
			}
		}
	})
}

// TestSmallQueueOfDeadLetters: a batch that is larger than what the queue takes at once is refused record by record.
func TestSmallQueueOfDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize = 64<<10, 1<<20
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		var all atomic.Bool
		out.send = func(_ context.Context, b *output.Batch) error {
			if !all.Load() {
				return errRefused
			}
			for i := range b.Len() {
				b.Reject(i, "no")
			}
			return nil
		}
		r.start()
		for i := range 4 {
			records := numbered(100*i, 100)
			for j := range records {
				records[j] += strings.Repeat("x", 2500)
			}
			in.send(t, records...)
		}
		all.Store(true)
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		r.mustStop()
		if l := r.letters(); len(l) != 400 {
			t.Errorf("%d dead letters, want 400", len(l))
		}
	})
}

func TestAllRejectedIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		out.send = func(_ context.Context, b *output.Batch) error {
			for i := range b.Len() {
				b.Reject(i, "no")
			}
			return errRefused
		}
		r.start()
		in.send(t, "one", "two")
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		if o := r.output("out"); o.Retries != 0 || o.DeadLetters != 2 || o.Records != 0 || o.LastError != "" {
			t.Errorf("status: %+v", o)
		}
		r.mustStop()
	})
}

func TestEveryRejectionIsOneDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		attempt := 0
		out.send = func(_ context.Context, b *output.Batch) error {
			if attempt++; attempt <= 3 { // one more rejection with each failed attempt
				b.Reject(3-attempt, "no")
				return errRefused
			}
			return nil
		}
		r.start()
		in.send(t, numbered(0, 5)...)
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		if o := r.output("out"); o.DeadLetters != 3 || o.Records != 2 {
			t.Errorf("status: %+v", o)
		}
		r.mustStop()
		if l := r.letters(); len(l) != 3 {
			t.Errorf("%d dead letters for 3 rejections", len(l))
		}
	})
}

func TestNothingIsDoneBeforeItsDeadLetterIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		out.send = func(_ context.Context, b *output.Batch) error {
			if b.Pending() == b.Len() {
				b.Reject(1, "no")
			}
			out.take(b, 0, b.Len())
			return nil
		}
		refuse := func(op faultfs.Op) error {
			if strings.Contains(op.Name, "/deadletter") {
				return syscall.EIO
			}
			return nil
		}
		r.fs.FailMatching(refuse)
		r.start()
		in.send(t, "one", "two", "three")
		eventually(t, "back-off", func() bool { return r.output("out").State == stateRetrying })
		if o := r.output("out"); o.Position != 2 || o.DeadLetters != 0 || !strings.Contains(o.LastError, "dead") {
			t.Errorf("while dead letters cannot be stored: %+v", o)
		}
		r.fs.FailMatching(nil)
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		expect(t, "sent once", out.records(), []string{"one", "three"})
		r.mustStop()
		if l := r.letters(); len(l) != 1 || string(l[0].Payload) != "two" {
			t.Errorf("dead letters: %v", l)
		}
	})
}

func TestStopWhileDeadLettersAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		out.send = func(_ context.Context, b *output.Batch) error {
			b.Reject(0, "no")
			return nil
		}
		r.start()
		r.e.dead.open = func() (*queue.Queue, error) { return r.open(queue.Options{Dir: "/data/deadletter", MaxSize: 1}) }
		in.send(t, "one")
		start := time.Now()
		r.mustStop()
		if d := time.Since(start); d > time.Duration(r.cfg.ShutdownTimeout)+time.Second {
			t.Errorf("stop took %v while the dead letters had no room", d)
		}
		if o := r.output("out"); o.Position != 1 || o.DeadLetters != 0 {
			t.Errorf("done without a dead letter: %+v", o)
		}
	})
}

func TestLettersOf(t *testing.T) {
	attributes := (&pack.Attributes{Severity: 3, Type: "app", Fields: []pack.Field{{Name: "own", Value: "x"}}}).Append(nil)
	var records []byte
	for _, s := range []string{"r0", "r1"} {
		records = pack.AppendOwn(records, (&pack.Record{Attributes: pack.Attributes{Severity: 1}, Payload: []byte(s + "\nwith LF")}).Append(nil))
	}
	runs := []part{
		{first: 10, run: output.Run{Form: pack.Lines, Count: 3, Attributes: attributes, Body: []byte("l0\n\nl2\r\n")}},
		{first: 13, run: output.Run{Form: pack.Records, Count: 2, Attributes: attributes, Body: records}},
		{first: 15, run: output.Run{Form: pack.Records, Count: 2, Attributes: attributes, Body: []byte("\xff\xffnot a record")}},
	}
	var rejected []output.Rejection
	for _, i := range []int{4, 2, 1, 0, 6} { // in any order
		rejected = append(rejected, output.Rejection{Index: i, Reason: "why"})
	}
	letters := lettersOf("out", time.Unix(5, 0), runs, rejected)
	want := []struct {
		payload  string
		sequence int64
		severity int32
	}{{"l0", 10, 3}, {"", 11, 3}, {"l2\r", 12, 3}, {"r1\nwith LF", 14, 1}, {"", 16, 7}}
	if len(letters) != len(want) {
		t.Fatalf("%d letters, want %d", len(letters), len(want))
	}
	for i, l := range letters {
		if l.Count != 1 || int(l.Raw) != len(l.Body) || len(l.Body) == 0 {
			t.Errorf("letter %d: %d records, %d bytes, says %d", i, l.Count, len(l.Body), l.Raw)
		}
		var b output.Batch
		b.Add(output.Run{Form: pack.Form(l.Form), Count: 1, Attributes: l.Attributes, Body: l.Body})
		r := recordOf(t, &b, 0)
		if string(r.Payload) != want[i].payload || r.Severity != want[i].severity || r.Type != "app" ||
			field(r, "deadletter_sequence") != want[i].sequence || field(r, "deadletter_time") != "1970-01-01T00:00:05Z" || field(r, "own") != "x" {
			t.Errorf("letter %d: %+v, want %+v", i, r, want[i])
		}
	}
	if segment.Form(pack.Lines) != segment.Lines || segment.Form(pack.Records) != segment.Records {
		t.Error("the forms of pack and segment differ")
	}
}
