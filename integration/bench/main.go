// Bench measures logmule beside the machine's own limits and prints one page.
//
//	go run ./integration/bench --binary bin/logmule
//
// The generator and the sink are processes of their own, so that the CPU time of logmule is only its own. The sink
// checks that every record arrives once, in order and bit for bit: a run that loses or doubles one is an error, not a figure.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

type options struct {
	Binary      string
	Dir         string
	Scenarios   string
	Runs        int
	Records     int
	Connections int
	Sync        string
	Compression string
	Backlog     int
	Segments    int
	Rate        int
}

func main() {
	if err := start(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func start(args []string) error {
	if len(args) == 2 && (args[0] == "generate" || args[0] == "receive") {
		return child(args[0], []byte(args[1]))
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.Binary, "binary", "", "the logmule to measure (default: build ./cmd/logmule)")
	flags.StringVar(&o.Dir, "dir", "", "where data directories are made, on a real disk (default: a temporary one below the current directory)")
	flags.StringVar(&o.Scenarios, "scenarios", "tcp,http,salvage,backlog,live", "which to run")
	flags.IntVar(&o.Runs, "runs", 3, "runs of each, after one that warms up; medians are printed")
	flags.IntVar(&o.Records, "records", 4_000_000, "records of a run")
	flags.IntVar(&o.Connections, "connections", 4, "connections of the generator")
	flags.StringVar(&o.Sync, "sync", "always", "[queue] sync")
	flags.StringVar(&o.Compression, "compression", "snappy", "[queue] compression")
	flags.IntVar(&o.Backlog, "backlog", 512, "MiB of the queue that fsck checks and that a start finds")
	flags.IntVar(&o.Segments, "segments", 2000, "segments of 64 KiB that another start finds")
	flags.IntVar(&o.Rate, "rate", 500_000, "records a second that a daemon takes and sends while fsck checks it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Runs < 1 || o.Records < 1 || o.Backlog < 1 || o.Segments < 1 || o.Rate < 1 || o.Connections < 1 || o.Connections > 99 {
		return fmt.Errorf("read flags: all are at least 1, connections at most 99")
	}
	dir, err := os.MkdirTemp(cmp.Or(o.Dir, "."), ".bench-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.Dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if o.Binary == "" {
		o.Binary = filepath.Join(o.Dir, "logmule")
		build := exec.Command("go", "build", "-trimpath", "-o", o.Binary, "./cmd/logmule")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build ./cmd/logmule: %w", err)
		}
	}
	return bench(o)
}

func child(what string, text []byte) error {
	if what == "generate" {
		var l load
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("read load: %w", err)
		}
		return generate(l)
	}
	var e expect
	if err := json.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("read expectation: %w", err)
	}
	return receive(e)
}

func bench(o options) error {
	m, err := measure(o.Dir, newCorpus())
	if err != nil {
		return err
	}
	loopback, err := median(o.Runs, func() (result, error) { return runLoopback(o) })
	if err != nil {
		return err
	}
	printMachine(o, m, loopback)
	for kind := range strings.SplitSeq(o.Scenarios, ",") {
		switch kind {
		case "salvage":
			err = runSalvage(o)
		case "backlog":
			err = runBacklog(o, m)
		case "live":
			err = runLive(o)
		case "tcp", "http":
			var r result
			if r, err = median(o.Runs, func() (result, error) { return runScenario(o, kind) }); err == nil {
				printScenario(o, m, loopback, kind, r)
			}
		default:
			err = fmt.Errorf("run scenario %q: there are tcp, http, salvage, backlog and live", kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
