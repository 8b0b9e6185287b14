package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"logmule/forward"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// named refuses arguments that name nothing.
func named(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, all []string) error {
		for i, arg := range all {
			if strings.TrimSpace(arg) == "" {
				return fmt.Errorf("argument %d is empty: is a variable of the shell not set?", i+1)
			}
		}
		return args(cmd, all)
	}
}

// noLettersNote is what there is to say of a queue of dead letters that is not there.
const noLettersNote = "there are no dead letters: this directory is made with the first one"

// noLetters tells whether dir is where a data directory would have its dead letters, and has none yet.
func noLetters(dir string) bool {
	dir = filepath.Clean(dir)
	if filepath.Base(dir) != forward.DeadLetterDir || recovery.IsDataDir(vfs.OS(), filepath.Dir(dir)) != nil {
		return false
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	files, err := os.ReadDir(dir) // a link may lead nowhere
	return len(files) == 0 && err == nil
}
