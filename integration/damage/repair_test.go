package damage

import (
	"bytes"
	"context"
	"path/filepath"

	"logmule/checkpoint"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// repair is the command, twice: the second run finds nothing, and changes nothing.
func (j *trial) repair() {
	report := j.repairOnce("the repair")
	if !report.Clean {
		j.fail("I7", "the repair leaves something: %+v", report)
	}
	if want := j.before; report.LostRecords != want.LostRecords {
		j.fail("agree", "fsck said that %d records are lost, the repair %d", want.LostRecords, report.LostRecords)
	}
	done := imageOf(j.t, j.disk)
	if again := j.repairOnce("the second repair"); !again.Clean || again.Repaired || len(again.Damage) > 0 {
		j.fail("I7", "the second repair found something: %+v", again)
	}
	again := imageOf(j.t, j.disk)
	for _, name := range sorted(done) {
		if !bytes.Equal(done[name], again[name]) {
			j.fail("I7", "the second repair changed %s", name)
		}
	}
	if len(again) != len(done) {
		j.fail("I7", "the second repair left %d files, there were %d", len(again), len(done))
	}
	j.check("after the repair", true)
	shown := j.there
	j.walk("after the repair")
	if shown.String() != j.there.String() {
		j.fail("agree", "cat showed %v before the repair, and %v after it", shown, j.there)
	}
}

func (j *trial) repairOnce(when string) recovery.Report {
	report, err := recovery.Repair(context.Background(), j.disk, dataDir, recovery.RepairOptions{
		CheckOptions: recovery.CheckOptions{Deep: true, Workers: 1}, Holder: "damage", MakeStore: j.makeStore,
	})
	if err != nil {
		j.fail("I4", "%s: %v", when, err)
	}
	return report
}

// makeStore is checkpoint.Make in memory.
func (j *trial) makeStore(path string, positions map[string]checkpoint.Position) error {
	return vfs.WriteFile(j.disk, filepath.Clean(path), boltFile(j.t, positions))
}
