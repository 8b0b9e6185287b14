package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mounted is one line of the list of mounts.
type mounted struct {
	device uint32 // its minor number, which is the number of a FUSE connection
	point  string
	kind   string // of file system
	source string
}

// mounts lists what is mounted, the latest last.
func mounts() ([]mounted, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var list []mounted
	for line := range strings.Lines(string(b)) {
		// "36 35 0:98 /root /point options [optional fields] - kind source options"; spaces in paths are \040.
		head, rest, ok := strings.Cut(line, " - ")
		fields, kinds := strings.Fields(head), strings.Fields(rest)
		if !ok || len(fields) < 5 || len(kinds) < 2 {
			continue
		}
		_, minor, _ := strings.Cut(fields[2], ":")
		n, _ := strconv.ParseUint(minor, 10, 32)
		list = append(list, mounted{device: uint32(n), point: unescape.Replace(fields[4]), kind: kinds[0], source: unescape.Replace(kinds[1])})
	}
	return list, nil
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// detach takes away every mount at point, at once, whoever uses it; where there is none it does nothing. A FUSE connection
// is ended too, so that nobody waits for its answers.
func detach(point string) error {
	list, err := mounts()
	if err != nil {
		return err
	}
	for i := len(list) - 1; i >= 0; i-- {
		m := list[i]
		if m.point != point {
			continue
		}
		if strings.HasPrefix(m.kind, "fuse") {
			if err := abort(m.device); err != nil {
				return err
			}
		}
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// abort ends a FUSE connection: whatever waits for an answer gets an error.
func abort(connection uint32) error {
	const usual = "/sys/fs/fuse/connections"
	dir := usual
	if _, err := os.Stat(filepath.Join(usual, fmt.Sprint(connection))); err != nil {
		temporary, err := os.MkdirTemp("", "logmule-fusectl-")
		if err != nil {
			return err
		}
		defer func() { _ = os.Remove(temporary) }()
		if err := unix.Mount("fusectl", temporary, "fusectl", 0, ""); err != nil {
			return fmt.Errorf("mount fusectl to end a FUSE connection: %w", err)
		}
		defer func() { _ = unix.Unmount(temporary, unix.MNT_DETACH) }()
		dir = temporary
	}
	err := os.WriteFile(filepath.Join(dir, fmt.Sprint(connection), "abort"), []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // not there: it has ended
		return fmt.Errorf("end FUSE connection %d: %w", connection, err)
	}
	return nil
}

// Undo takes away what killed tests have left: images whose process has ended, fault disks whose server has.
func Undo() error {
	list, err := mounts()
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := undoImage(m); err != nil {
			return err
		}
		pid, ok := strings.CutPrefix(m.source, serverName+"-")
		if !ok || serves(pid) {
			continue
		}
		if err := detach(m.point); err != nil {
			return err
		}
	}
	return nil
}

// serves says whether that process is a server of a fault disk.
func serves(pid string) bool {
	line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	return err == nil && strings.HasPrefix(string(line), serverName)
}
