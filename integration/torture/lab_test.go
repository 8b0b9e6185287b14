package torture

import (
	"path/filepath"
	"testing"

	"logmule/integration/rig"
)

// newLab is a logmule whose files are in a directory of the test's, on an admin address that stays its own. When the test
// ends, the daemon is stopped and its data directory must check clean. text is what follows data_dir, shutdown_timeout and [admin].
func newLab(t *testing.T, text string) *rig.Lab {
	t.Helper()
	return newLabAt(t, filepath.Join(t.TempDir(), "data"), text)
}

// newLabAt is newLab with its data directory elsewhere: on a fault disk for example.
func newLabAt(t *testing.T, data, text string) *rig.Lab {
	t.Helper()
	l := rig.NewLab(t, t.TempDir(), data, rig.OwnAddress(t), text)
	t.Cleanup(l.End)
	return l
}
