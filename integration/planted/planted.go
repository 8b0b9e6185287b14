// Package planted builds known bugs into logmule, so that a test can show that it would have caught them.
//
// A Bug is a few replacements in files of the product, made with an overlay of the go command: the tree stays as it is, and the
// product needs no hooks. Where the text that is to be replaced is no longer there exactly once, the overlay is an error that says so:
// then the bug has to be planted anew.
//
//	overlay, err := bug.Overlay(t.TempDir())
//	exec.Command("go", "build", "-overlay", overlay, "-o", binary, "./cmd/logmule")
package planted

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Bug is a mistake that somebody could make.
type Bug struct {
	Name  string // what it does, in a few words
	Edits []Edit
	// Phase of integration/states in which it has to be caught; empty: it cannot be seen there, only in the real binary.
	Phase string
}

// Edit replaces a text that stands in a file exactly once.
type Edit struct {
	File     string // below the root of the module, with slashes
	Old, New string
}

// Root is the directory of the module: the one above the working directory, or that itself, which has a go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the working directory; run this inside the source tree")
		}
		dir = up
	}
}

// Overlay writes the changed files and the overlay that names them into dir, and returns the path of the overlay, for
// the flag -overlay of go build and go test.
func (b Bug) Overlay(dir string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", fmt.Errorf("plant %q: %w", b.Name, err)
	}
	changed := map[string]string{} // by path
	for _, e := range b.Edits {
		path := filepath.Join(root, filepath.FromSlash(e.File))
		text, known := changed[path]
		if !known {
			data, err := os.ReadFile(path)
			if err != nil {
				return "", fmt.Errorf("plant %q: %w", b.Name, err)
			}
			text = string(data)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return "", fmt.Errorf("plant %q: %s has %d times, not once, the text\n%s\nwrite the bug anew for the code as it is", b.Name, e.File, n, e.Old)
		}
		changed[path] = strings.Replace(text, e.Old, e.New, 1)
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for path, text := range changed {
		copied := filepath.Join(dir, fmt.Sprintf("%d-%s", len(overlay.Replace), filepath.Base(path)))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("plant %q: %w", b.Name, err)
		}
		overlay.Replace[path] = copied
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		return "", fmt.Errorf("plant %q: %w", b.Name, err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", fmt.Errorf("plant %q: %w", b.Name, err)
	}
	return file, nil
}
