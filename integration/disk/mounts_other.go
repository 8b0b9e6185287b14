//go:build !linux

package disk

import "errors"

// errLinux says that there are no fault disks here.
var errLinux = errors.New("a fault disk needs Linux")

func detach(string) error { return errLinux }

// Undo takes away what killed tests have left.
func Undo() error { return errLinux }
