// Command logmule is a durable log forwarder. "logmule help" says what it can do.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A reader that goes away, such as head, then shows as an error of the write, which ends a command quietly.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}
