package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// writerOf names a process that has a file of a directory open for writing, which a running hekad has; empty: there is none
// that this user may see. Heka has no lock.
func writerOf(dir string) string {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return ""
	}
	open, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range open {
		target, err := os.Readlink(fd)
		if err != nil || target != dir && filepath.Dir(target) != dir || !writes(fd) {
			continue
		}
		process := strings.Split(fd, "/")[2]
		name, _ := os.ReadFile(filepath.Join("/proc", process, "comm"))
		return fmt.Sprintf("%s, process %s,", clean(strings.TrimSpace(string(name))), process)
	}
	return ""
}

// writes tells whether a descriptor may write.
func writes(fd string) bool {
	info, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(fd)), "fdinfo", filepath.Base(fd)))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(info) {
		if flags, ok := bytes.CutPrefix(line, []byte("flags:")); ok {
			mode, err := strconv.ParseUint(string(bytes.TrimSpace(flags)), 8, 64)
			return err == nil && mode&uint64(os.O_WRONLY|os.O_RDWR) != 0
		}
	}
	return false
}
