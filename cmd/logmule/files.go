package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"logmule/forward"
	"logmule/forward/config"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// planFiles is the page of check --files.
func planFiles(cfg *config.Config) (string, error) {
	first := false
	plans, err := forward.PlanFiles(cfg, func(prefix string) (map[string][]byte, error) {
		if err := recovery.IsDataDir(vfs.OS(), cfg.DataDir); err != nil && !errors.Is(err, fs.ErrPermission) {
			first = true
			return nil, nil
		}
		return recovery.SourcePositions(vfs.OS(), cfg.DataDir, prefix)
	})
	if err != nil {
		return "", &failure{code: exitFailed, err: fmt.Errorf("look at the files of the inputs: %w", err), hint: dirHint(err)}
	}
	var b strings.Builder
	if first {
		fmt.Fprintf(&b, "\n%s is no data directory yet: no position of a file is known\n", cfg.DataDir)
	}
	if len(plans) == 0 {
		b.WriteString("\nno input follows files\n")
	}
	for _, p := range plans {
		filesOf(&b, p)
	}
	return b.String(), nil
}

// filesOf shows the files of one input: those that are read, in order, then the others.
func filesOf(b *strings.Builder, p forward.PlannedFiles) {
	read := 0
	for _, f := range p.Files {
		if f.Read {
			read++
		}
	}
	fmt.Fprintf(b, "\ninput %s: %s followed, %s not\n", clean(p.Input), count(uint64(read), "file"), count(uint64(len(p.Files)-read), "file"))
	if len(p.Files) == 0 {
		return
	}
	table(b, "FILE\tSIZE\tSTARTS AT\tLEFT\tWHY", func(row func(...any)) {
		for _, f := range p.Files {
			starts, left := "-", "-"
			switch {
			case f.Read && f.Done:
				starts, left = fmt.Sprint(f.Offset), "nothing"
			case f.Read && strings.HasSuffix(f.Path, ".gz"):
				starts, left = fmt.Sprint(f.Offset), "unknown"
			case f.Read:
				starts, left = fmt.Sprint(f.Offset), size(f.Size-f.Offset)
			}
			row(clean(f.Path), size(f.Size), starts, left, clean(f.Why))
		}
	})
}
