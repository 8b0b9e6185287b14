//go:build !linux

package main

import "os"

func fdatasync(file *os.File) error { return file.Sync() }
