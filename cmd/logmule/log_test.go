package main

import (
	"bytes"
	"log"
	"strings"
	"testing"

	"logmule/forward/config"
)

// TestLibrariesAreLogged: what a library writes is a line of the log like any other, short, and its repeats are counted.
func TestLibrariesAreLogged(t *testing.T) {
	var b bytes.Buffer
	l := newLog(&b, config.Log{})
	leave := l.adopt()
	for range 3 {
		log.Printf("Unsolicited response: %q", strings.Repeat("\x00", 4096))
	}
	leave()
	l.fold.flush()
	got := b.String()
	if strings.Count(got, "\n") != 2 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "Unsolicited") ||
		!strings.Contains(got, "repeated=2") || len(got) > 1000 {
		t.Errorf("logged %q", got)
	}
}
