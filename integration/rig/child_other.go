//go:build !linux

package rig

import "syscall"

// withParent is nothing where a child cannot be bound to whoever started it.
func withParent() *syscall.SysProcAttr { return nil }
