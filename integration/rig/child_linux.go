package rig

import "syscall"

// withParent lets a child die with the thread that started it.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
