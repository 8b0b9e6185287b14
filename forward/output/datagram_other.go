//go:build !linux

package output

import "syscall"

// keepRefusals has nothing to do where the socket itself says all that is known.
func keepRefusals(uintptr) error { return nil }

func keptRefusal(uintptr) syscall.Errno { return 0 }
