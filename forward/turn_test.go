package forward

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
)

func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn turn
		ctx := t.Context()
		if !turn.take(ctx) {
			t.Fatal("the first one does not get it")
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if turn.take(ended) {
			t.Fatal("two have it")
		}
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				if turn.take(ctx) {
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
					turn.give()
				}
			})
			synctest.Wait()
		}
		lent, back := turn.lend(ctx)
		if lent.Err() != nil {
			t.Error("nobody demanded it")
		}
		all.Go(func() {
			if turn.demand(ctx) {
				mu.Lock()
				order = append(order, 9)
				mu.Unlock()
				turn.give()
			}
		})
		synctest.Wait()
		if context.Cause(lent) != errYield {
			t.Error("the holder is not told")
		}
		back()
		if again, back := turn.lend(ctx); context.Cause(again) != errYield {
			t.Error("a holder who begins to wait is not told")
		} else {
			back()
		}
		turn.give()
		all.Wait()
		if fmt.Sprint(order) != "[9 2 1 0]" {
			t.Errorf("order %v, want the last one first", order)
		}
		if !turn.take(ended) || turn.needed != 0 {
			t.Error("a free turn is not given")
		}
	})
}

// TestTurnOfOneWhoNeedsIt: others who come later, and have nothing to do, do not keep it from the one that demands it.
func TestTurnOfOneWhoNeedsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn turn
		ctx := t.Context()
		turn.take(ctx)
		var order []string // of one at a time
		var all sync.WaitGroup
		wait := func(name string, get func(context.Context) bool) {
			all.Go(func() {
				if get(ctx) {
					order = append(order, name)
					turn.give()
				}
			})
			synctest.Wait()
		}
		wait("early", turn.take)
		wait("needs it", turn.demand)
		wait("late", turn.take)
		turn.give()
		all.Wait()
		if fmt.Sprint(order) != "[needs it late early]" {
			t.Errorf("order %v", order)
		}
	})
}
