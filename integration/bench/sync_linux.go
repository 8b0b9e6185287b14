package main

import (
	"os"

	"golang.org/x/sys/unix"
)

func fdatasync(file *os.File) error { return unix.Fdatasync(int(file.Fd())) }
