package torture

import "golang.org/x/sys/unix"

// limitDescriptors lowers how many files a process may have open.
func limitDescriptors(pid int, n uint64) error {
	return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}, nil)
}
