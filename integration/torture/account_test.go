package torture

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"logmule/integration/rig"
)

// report is what fsck --json says.
type report struct {
	Clean bool   `json:"clean"`
	Last  uint64 `json:"last_sequence"`
	Lost  uint64 `json:"lost_records"`
	Torn  uint64 `json:"torn_tail_bytes"`
}

// fsck checks the data directory, which must be clean.
func (w *world) fsck() (r report) {
	w.t.Helper()
	code, out := w.Run("fsck", "--json", w.Data)
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil || code != 0 || !r.Clean { // what is said beside it is on stderr
		w.t.Errorf("fsck exits %d, %v:\n%s", code, err, out)
	}
	return r
}

// ledgerLine is one line of the loss ledger.
type ledgerLine struct {
	First, Last, Count uint64
	Cause              string
	Acknowledged       string
	Segment            string
	Outputs            []string
}

// ledger reads the loss ledger.
func (w *world) ledger() (all []ledgerLine) {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.Data, "losses.jsonl"))
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var l ledgerLine
		must(w.t, json.Unmarshal(line, &l))
		all = append(all, l)
	}
	return all
}

// readArchive gives what the file output has written to the judge, and removes it.
func (w *world) readArchive() {
	w.t.Helper()
	all, err := filepath.Glob(w.archive() + "*")
	must(w.t, err)
	slices.Sort(all)
	for _, name := range append(all[1:], all[0]) { // those that were put aside first
		b, err := os.ReadFile(name)
		must(w.t, err)
		if len(b) > 0 && b[len(b)-1] != '\n' {
			w.t.Errorf("%s ends within a line", name)
		}
		rig.Lines(b, w.ends["file"].arrived)
		must(w.t, os.Remove(name))
	}
}

// account holds what arrived at each output against what was stored: stored sequences, all of which are records of this
// world, without lost of that output. It fails the test where the sums differ or a promise is broken, but for at most doubled
// records at each end. stored 0: nobody knows how many there are.
func (w *world) account(stored uint64, lost map[string]uint64, doubled uint64) {
	w.t.Helper()
	drops, err := w.sink.Dropped()
	must(w.t, err)
	v := w.Judge.Verdict()
	for _, f := range v.Findings {
		e := w.ends[f.Destination]
		away := lost[f.Destination]
		if f.Destination == "udp" {
			away += drops
		}
		w.t.Logf("output %s: %d judged and %d other records, %d doubled, %d lost as known", f.Destination, f.Arrived, e.unjudged(), f.Doubled.Count+e.again, away)
		if got := f.Arrived + e.unjudged(); stored > 0 && got != stored-away {
			w.t.Errorf("output %s has got %d records of %d, %d are known to be lost", f.Destination, got, stored, away)
		}
		if f.Altered.Count+f.Invented.Count+f.Refused.Count+f.Disordered.Count > 0 || f.Doubled.Count+e.again > doubled || f.Lost.Count > away || len(e.wrong) > 0 {
			w.t.Errorf("output %s: promises broken, at most %d doubled records allowed; %q\n%s", f.Destination, doubled, e.wrong, v)
		}
	}
}

// declared holds what the outputs have missed against the loss ledger, which has to tell of each sequence that any of them has.
func (w *world) declared(lost map[string]uint64) {
	w.t.Helper()
	var told uint64
	for _, l := range w.ledger() {
		if l.Count != l.Last-l.First+1 {
			w.t.Errorf("the ledger says %+v", l)
		}
		if l.Acknowledged != "no" { // what a crash took that nobody was promised is nobody's loss
			told += l.Count
		}
	}
	var most, sum uint64
	for name, n := range lost {
		most = max(most, n)
		sum += n
		w.t.Logf("output %s has missed %d records", name, n)
	}
	if told < most || told > sum {
		w.t.Errorf("the ledger tells of %d lost records, the outputs have missed %v: %+v", told, lost, w.ledger())
	}
}
