// Command page writes the tables of docs/reliability.md from the rows that a run of the fault laboratory left:
//
//	go run ./integration/reliability/page ROWS PAGE
//
// It exits 1 where a row tells of a broken promise, after writing it down.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"logmule/integration/reliability"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: page ROWS PAGE")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "page:", err)
		os.Exit(1)
	}
}

func write(results, page string) error {
	f, err := os.Open(results)
	if err != nil {
		return fmt.Errorf("%w; run the laboratory first, with %s=%s", err, reliability.Variable, results)
	}
	defer f.Close()
	rows, err := reliability.Read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", results, err)
	}
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text, err := reliability.Place(string(old), stamp(), rows)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		return err
	}
	var broken int
	for _, r := range rows {
		if r.Lost+r.Altered+r.Invented > 0 {
			broken++
			fmt.Fprintf(os.Stderr, "%s, %s, %s: %d lost, %d altered, %d invented (%s)\n", r.Part, r.Fault, r.Kind, r.Lost, r.Altered, r.Invented, r.Test)
		}
	}
	fmt.Printf("%d rows in %s\n", len(rows), page)
	if broken > 0 {
		return fmt.Errorf("%d rows tell of a broken promise", broken)
	}
	return nil
}

// stamp says what ran where, so that a number can be placed.
func stamp() string {
	version := output("git", "describe", "--tags", "--always", "--dirty")
	kernel := output("uname", "-sr")
	return fmt.Sprintf("%s, logmule %s, %s, %s/%s, %d CPUs.", time.Now().UTC().Format(time.DateOnly), version, kernel, runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}

func output(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "(" + program + " not here)"
	}
	return strings.TrimSpace(string(out))
}
