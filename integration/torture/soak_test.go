package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/reliability"
)

// SoakVariable says how long TestSoak runs, as a duration.
const SoakVariable = "LOGMULE_SOAK"

// soak is a world that everything is done to, round after round.
type soak struct {
	*world
	disks map[string]*disk.Disk
	wild  *rand.Rand
	does  map[string][]fault // by disk

	rounds, kills, powers, faults, reloads uint64
	lost                                   map[string]uint64
}

// TestSoak mixes all of it for as long as SoakVariable says: load that comes and goes, faults of all disks, destinations that do
// not answer, reloads, kills and power losses.
func TestSoak(t *testing.T) {
	need(t, disk.Available())
	lasts := by(0, 10*time.Second, 10*time.Minute)
	if given := os.Getenv(SoakVariable); given != "" {
		var err error
		lasts, err = time.ParseDuration(given)
		must(t, err)
	}
	if lasts == 0 {
		t.Skip("set " + SoakVariable + " to a duration")
	}
	w, disks := newDiskWorld(t, "data", "logs", "out")
	w.settle() // each round has sources of its own
	w.reload(true)
	s := &soak{world: w, disks: disks, wild: w.Judge.Rand("soak"), lost: map[string]uint64{}}
	sane := func(all []fault) []fault {
		return slices.DeleteFunc(all, func(f fault) bool { return f.lossy || f.lasts > 0 })
	}
	s.does = map[string][]fault{"data": sane(append(queueErrors(), queueRoom()...)), "logs": sane(logErrors()), "out": sane(archiveErrors())}
	took := w.watch()
	for began := time.Now(); time.Since(began) < lasts; s.rounds++ {
		s.round()
	}
	used := took()
	used.bounded(t, 400<<20, 600, 1000)
	s.late.Open()
	s.Wait("/readyz answers 200", func() bool { status, _ := s.ready(); return status == 200 })
	s.drained("")
	s.count()
	s.Stop()
	s.readArchive()
	s.fsck()
	s.account(0, s.lost, 1<<62)
	s.declared(s.lost)
	t.Logf("the loss ledger: %+v", s.ledger())
	row := reliability.Row{Part: reliability.Soak, Fault: "all of it mixed, for " + lasts.String(), Tried: s.rounds}
	var most uint64
	for _, f := range s.Judge.Verdict().Findings {
		row.Lost, row.Altered, row.Invented = row.Lost+f.Lost.Count, row.Altered+f.Altered.Count, row.Invented+f.Invented.Count
		row.Doubled, most = row.Doubled+f.Doubled.Count, max(most, f.Arrived)
	}
	row.Outcome = fmt.Sprintf("%d records at each of 7 outputs, %d faults of disks, %d kills, %d power losses, %d reloads; %v", most, s.faults, s.kills, s.powers, s.reloads, used)
	reliability.Add(t, row)
}

// round lets load come, does what comes to mind, and ends in peace, with a kill or with a power loss.
func (s *soak) round() {
	s.t.Helper()
	name := fmt.Sprintf("r%d", s.rounds)
	feeds := s.trickle(name)
	if s.wild.IntN(3) == 0 {
		feeds = s.flood(name)
	}
	s.begins(feeds)
	for range 1 + s.wild.IntN(4) {
		switch s.wild.IntN(8) {
		case 0:
			s.late.Close()
		case 1:
			s.late.Open()
		case 2:
			s.reload(s.wild.IntN(2) == 0)
			s.reloads++
		default:
			s.fault()
		}
		s.rest(500)
	}
	switch s.wild.IntN(3) {
	case 0:
		s.peace()
	case 1:
		s.kill(false)
	case 2:
		s.kill(true)
	}
}

// rest lets time pass, up to so many milliseconds.
func (s *soak) rest(most int) { time.Sleep(time.Duration(s.wild.IntN(most)) * time.Millisecond) }

// fault does one to one of the disks for a while.
func (s *soak) fault() {
	s.t.Helper()
	place := []string{"data", "data", "logs", "out"}[s.wild.IntN(4)]
	f, d := s.does[place][s.wild.IntN(len(s.does[place]))], s.disks[place]
	s.begin(d, f)
	s.rest(2000)
	if f.end != nil {
		must(s.t, f.end(d))
	}
	must(s.t, d.Clear())
	s.faults++
}

// peace lets everything arrive, and puts the log and the archive away.
func (s *soak) peace() {
	s.t.Helper()
	s.late.Open()
	s.settle()
	s.drained("")
	s.readArchive()
	must(s.t, os.Remove(s.log.Name()))
	must(s.t, s.log.Close())
	var err error
	s.log, err = os.OpenFile(filepath.Join(s.place.logs, "app.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(s.t, err)
	s.reload(true)
}

// kill ends the daemon the hard way and starts it again. What it had not acknowledged nobody owes, but for what is in the log.
func (s *soak) kill(power bool) {
	s.t.Helper()
	s.count()
	if power {
		must(s.t, s.disks["data"].Freeze())
	}
	s.Proc.Kill()
	s.abandon()
	if power {
		must(s.t, s.disks["data"].Crash(disk.Mix, s.wild.Uint64()))
		s.powers++
	} else {
		s.kills++
	}
	for _, f := range s.feeds {
		if f.kind == "file" {
			f.source.Acknowledged(1, f.source.Sent())
		}
	}
	s.Configure(s.text(true))
	s.start()
	s.Wait("what is left of the log arrives", func() bool { return s.ends["http"].judged.Owes() == 0 })
	s.mark() // from here on what the file input takes is of the next round
}

// count adds up what the outputs of this process have missed.
func (s *soak) count() {
	now := s.counters()
	for name := range s.ends {
		s.lost[name] += uint64(now["lost/"+name])
	}
}
