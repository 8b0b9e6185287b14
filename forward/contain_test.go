package forward

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestContain(t *testing.T) {
	failure := errors.New("plain")
	if err := contain(func() error { return failure }); err != failure {
		t.Errorf("an error came back as %v", err)
	}
	var caught *panicError
	err := contain(func() error { panic("boom") })
	if !errors.As(err, &caught) || caught.text != "boom" || len(caught.stack) == 0 {
		t.Errorf("a panic came back as %v", err)
	}
	var none []int
	err = contain(func() error { none[len(caught.text)] = 1; return nil })
	if !errors.As(err, &caught) {
		t.Errorf("a run-time panic came back as %v", err)
	}
}

func TestPanicsMakeSick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		var p panics
		p.started()
		for i := range sickAfter {
			if _, sick, _ := p.state(); sick {
				t.Fatalf("sick after %d panics", i)
			}
			time.Sleep(10 * time.Second)
			p.add(log.logger(), &panicError{text: "boom", stack: []byte("the stack")})
			p.started()
		}
		time.Sleep(healthyAfter - time.Nanosecond)
		if total, sick, text := p.state(); !sick || text != "boom" || total != sickAfter {
			t.Errorf("state = %d %v %q just before the minute is over", total, sick, text)
		}
		time.Sleep(time.Nanosecond)
		if _, sick, _ := p.state(); sick {
			t.Error("still sick after a minute without a panic")
		}
		if got := log.with("the stack"); len(got) != 1 {
			t.Errorf("stack logged %d times", len(got))
		}
		if got := log.with("panicked again", "boom"); len(got) != sickAfter-1 {
			t.Errorf("%d lines for the panics after the first", len(got))
		}
	})
}

func TestPanicsNeedARunningMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		var p panics
		for range sickAfter {
			p.add(log.logger(), &panicError{text: "boom"})
		}
		time.Sleep(time.Hour)
		if _, sick, _ := p.state(); !sick {
			t.Error("healthy though it has not run since")
		}
	})
}

func TestRarePanicsStayHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		var p panics
		for i := range 3 * stacksKept {
			p.add(log.logger(), &panicError{text: fmt.Sprint("boom ", i), stack: []byte("the stack")})
			p.started()
			time.Sleep(healthyAfter / (sickAfter - 1))
			if _, sick, _ := p.state(); sick {
				t.Fatalf("sick with four panics a minute")
			}
		}
		if got := log.with("the stack"); len(got) != stacksKept {
			t.Errorf("%d stacks logged, want %d", len(got), stacksKept)
		}
	})
}
