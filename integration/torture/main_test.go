// Package torture does to the built binary what a machine room does: it takes the power away, breaks disks and networks,
// and sends more than fits. What came of it goes into rows of package reliability.
//
// LOGMULE_TORTURE says how much: unset, a smoke of each part that leaves out what this machine cannot do; short, all of it
// in about ten minutes; long, hours. Both fail where root or /dev/fuse is missing. LOGMULE_SEED repeats the random choices
// of a test.
package torture

import (
	"fmt"
	"os"
	"testing"

	"logmule/integration/rig"
)

// LevelVariable says how much is done.
const LevelVariable = "LOGMULE_TORTURE"

// The levels.
const (
	smoke = iota // seconds, as a part of make test
	short        // ten minutes in all
	long         // hours
)

// level is the one asked for.
var level = map[string]int{"": smoke, "short": short, "long": long}[os.Getenv(LevelVariable)]

func TestMain(m *testing.M) {
	switch os.Getenv(LevelVariable) {
	case "", "short", "long":
	default:
		fmt.Fprintf(os.Stderr, "%s is %q; use short or long, or unset it\n", LevelVariable, os.Getenv(LevelVariable))
		os.Exit(2)
	}
	os.Exit(rig.Main(m))
}

// by picks what belongs to the level.
func by[T any](atSmoke, atShort, atLong T) T {
	return [...]T{smoke: atSmoke, short: atShort, long: atLong}[level]
}

// need ends a test that this machine cannot run: a smoke leaves it out, whoever asked for torture is told.
func need(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case level == smoke:
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	rig.Must(t, err)
}
