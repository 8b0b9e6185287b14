package torture

import (
	"fmt"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/judge"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// large are segments that end seldom, so that it is not their end that syncs.
const large = "segment_size = \"16MiB\"\n"

// TestRelaxedSync loses power with sync = "200ms": what it costs is what was acknowledged since the sync began that is the last to have
// ended, however long the one under way takes; readers never pass the mark, so no sequence stands for two records, and lines of a file,
// whose position is stored with them, are all there. Where nothing comes in any more, a sync comes by itself and then nothing is lost.
func TestRelaxedSync(t *testing.T) {
	need(t, disk.Available())
	seed := judge.Seed()
	for n, c := range []struct {
		name  string
		queue string
		delay time.Duration
		times int
	}{
		{"power lost under load", large, 0, by(1, 10, 200)},
		{"power lost under load, small segments", small, 0, by(0, 5, 200)},
		{"power lost under load, while each sync takes 300 ms", large, 300 * time.Millisecond, by(0, 4, 60)},
	} {
		if c.times == 0 { // a smoke
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, seed+uint64(n), c.queue+"sync = \"200ms\"")
			t.Cleanup(s.keep)
			tried := s.relaxed(accept, c.delay, c.times)
			s.quiet()
			got, v := s.drainRelaxed()
			most := 1
			if c.queue == small {
				most += 2 // those of the seal of the segment before, which goes on beside the writing of the next one
			}
			if got.syncs > most {
				t.Errorf("lost although %d syncs began after the acknowledgement: %+v", got.syncs, got)
			}
			if lost := got.rounds[s.settled]; lost > 0 {
				t.Errorf("%d records are lost that were acknowledged, and synced by itself, before the power was", lost)
			}
			for n := uint64(1); n <= s.program.source.Sent(); n++ {
				if !s.http.has(fmt.Sprintf("J log %d", n)) {
					t.Errorf("line %d of the log is lost", n)
					break
				}
			}
			s.relaxedRow("sync = \"200ms\", "+c.name, tried, got, v, "at most what was acknowledged since the last sync")
		})
	}
}

// TestNoSync loses power with sync = "never", which promises nothing of the records: but what comes is what was sent, no epoch and sequence stand for two records, and the daemon starts by itself.
func TestNoSync(t *testing.T) {
	need(t, disk.Available())
	s := newSite(t, judge.Seed(), large+"sync = \"never\"")
	t.Cleanup(s.keep)
	s.seqs.perEpoch = true
	// What has been delivered is not lost, so that nothing is delivered meanwhile.
	tried := s.relaxed(refuse, 0, by(1, 12, 200))
	s.sink.Answer(accept)
	got, v := s.drainRelaxed()
	for i := range v.Findings { // what a source repeats, since its position is lost, comes behind what is left of later records
		v.Findings[i].Disordered = judge.Tally{}
	}
	s.relaxedRow("sync = \"never\", power lost under load", tried, got, v, "whatever the system had not written by itself")
}

// relaxed loses the power so many times and says how often.
func (s *site) relaxed(answer func() rig.Answer, delay time.Duration, times int) uint64 {
	s.t.Helper()
	s.acks = newAcks(s.t, s.disk, delay)
	s.begin()
	s.noPower()
	s.sink.Answer(answer)
	for range times {
		s.start()
		<-time.After(time.Duration(s.r.IntN(500)) * time.Millisecond) // a random moment between two syncs
		cuts[0].arm(s)
		select {
		case <-s.disk.Frozen():
		case <-time.After(overdue):
		}
		s.noPower()
	}
	return uint64(times)
}

// quiet ends the load, waits until a sync has come by itself, and loses the power: nothing may be lost then.
func (s *site) quiet() {
	s.t.Helper()
	s.start()
	s.endLoad()
	s.Wait("everything is synced by itself", func() bool {
		return s.Metric("logmule_queue_mark_sequence")+1 == s.Metric("logmule_queue_next_sequence")
	})
	last := s.acks.round
	s.noPower()
	s.acks.mu.Lock()
	defer s.acks.mu.Unlock()
	s.settled = last
}

// drainRelaxed drains what is there and gives what was lost, and the verdict, in which nothing but losses and repeats is allowed.
func (s *site) drainRelaxed() (toll, judge.Verdict) {
	s.t.Helper()
	s.endLoad()
	s.startIdle()
	s.Wait("the log is read", func() bool { return s.http.has(fmt.Sprintf("J log %d", s.program.source.Sent())) })
	s.Wait("everything is delivered", func() bool { return s.Metric("logmule_output_backlog_records") == 0 })
	s.Stop()
	s.readArchive()
	v := s.Judge.Verdict()
	for i := range v.Findings {
		v.Findings[i].Lost = judge.Tally{}
	}
	return s.acks.cost(s.http), v
}

// relaxedRow judges and writes the row.
func (s *site) relaxedRow(fault string, tried uint64, got toll, v judge.Verdict, what string) {
	s.t.Helper()
	if err := v.Err(s.Judge.Owed() * (tried + 2)); err != nil { // each loss may repeat all: those, the one of the beginning and the one of quiet
		s.t.Error(err)
	}
	if err := s.seqs.verdict(); err != nil {
		s.t.Error(err)
	}
	var f judge.Finding
	for _, one := range v.Findings {
		f.Altered.Count += one.Altered.Count
		f.Invented.Count += one.Invented.Count
		f.Doubled.Count += one.Doubled.Count
	}
	reliability.Add(s.t, reliability.Row{Part: reliability.Relaxed, Fault: fault, Tried: tried, Declared: got.records,
		Altered: f.Altered.Count, Invented: f.Invented.Count, Doubled: f.Doubled.Count, Back: worst(s.ready),
		Outcome: fmt.Sprintf("started by itself; lost %s: %d of %d acknowledged records, the most at once %d, the oldest acknowledged %v before",
			what, got.records, s.Judge.Owed(), got.most, got.oldest.Round(time.Millisecond))})
}
