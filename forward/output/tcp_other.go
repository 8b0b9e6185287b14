//go:build !linux

package output

import (
	"errors"
	"time"
)

// unacknowledged is not known here: what the kernel took counts as accepted, and the resend window has to cover the rest.
func unacknowledged(uintptr) (int, error) { return 0, nil }

func setUserTimeout(uintptr, time.Duration) error { return nil }

func acknowledged(uintptr) (uint64, error) { return 0, errors.ErrUnsupported }
