// Package leaks tells of goroutines that tests have left behind, with the patience of a busy machine: those that are about to end
// are no leak, however long they wait for the processor.
package leaks

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is far longer than a goroutine that was told to end can need.
const patience = 30 * time.Second

// Main is the TestMain of a package whose tests leave nothing running.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := find(); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n") // the exit status says it too
			code = 1
		}
	}
	os.Exit(code)
}

// None fails the test if goroutines run that options do not leave out.
func None(t *testing.T, options ...goleak.Option) {
	t.Helper()
	if err := find(options...); err != nil {
		t.Error(err)
	}
}

// find looks again and again, since goleak itself gives up after half a second.
func find(options ...goleak.Option) (err error) {
	for end := time.Now().Add(patience); ; {
		if err = goleak.Find(options...); err == nil || time.Now().After(end) {
			return err
		}
	}
}
