package planted

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestBugsFit: each of them can be planted in the code as it is.
func TestBugsFit(t *testing.T) {
	for _, b := range Bugs {
		overlay, err := b.Overlay(t.TempDir())
		if err != nil {
			t.Error(err)
			continue
		}
		var made struct{ Replace map[string]string }
		data, err := os.ReadFile(overlay)
		if err == nil {
			err = json.Unmarshal(data, &made)
		}
		if err != nil || len(made.Replace) == 0 {
			t.Errorf("%s: overlay %s: %v", b.Name, data, err)
		}
		for path, copied := range made.Replace {
			was, _ := os.ReadFile(path)
			is, err := os.ReadFile(copied)
			if err != nil || string(was) == string(is) {
				t.Errorf("%s: %s is not changed: %v", b.Name, path, err)
			}
		}
	}
}

// TestTextThatMoved: a bug whose place is gone, or is two places, is not planted somewhere.
func TestTextThatMoved(t *testing.T) {
	for _, old := range []string{"this text stands nowhere in there", "return"} {
		b := Bug{Name: "moved", Edits: []Edit{{File: "integration/planted/planted.go", Old: old, New: "x"}}}
		if _, err := b.Overlay(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not once") {
			t.Errorf("%q: %v", old, err)
		}
	}
}
