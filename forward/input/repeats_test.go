package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"logmule/forward/pack"
)

func postAs(t testing.TB, c *http.Client, address, key, body string) (int, string) {
	t.Helper()
	q := post(t, "POST", address, strings.NewReader(body))
	if key != "" {
		q.Header.Set("Idempotency-Key", key)
	}
	status, text, _ := do(t, c, q)
	return status, text
}

const once, again = "{\"records\":2}\n", "{\"records\":2,\"repeated\":true}\n"

func TestHTTPRepeats(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort+"username = \"ann\"\npassword = \"x\"\ntoken = \"y\"\n", st.emit)
	c := client(t)
	long := strings.Repeat("k", longestKey)
	stored := 0
	for i, x := range []struct {
		key, user, body string
		coding          string
		status          int
		text            string
		records         int
	}{
		{"a", "ann", "one\ntwo\n", "", 200, once, 2},
		{"a", "ann", "one\ntwo\n", "", 200, again, 0},
		{"a", "ann", "one\ntwo\n", "gzip", 200, again, 0}, // the content is the same
		{"a", "ann", "one\ntwo", "", 422, "Idempotency-Key", 0},
		{"a", "ann", "one\nTWO\n", "", 422, "Idempotency-Key", 0},
		{"a", "ann", "", "", 422, "Idempotency-Key", 0},
		{"a", "", "one\ntwo\n", "", 200, once, 2}, // somebody else
		{"b", "ann", "one\ntwo\n", "", 200, once, 2},
		{"", "ann", "one\ntwo\n", "", 200, once, 2},
		{"", "ann", "one\ntwo\n", "", 200, once, 2},
		{long, "ann", "one\ntwo\n", "", 200, once, 2},
		{long, "ann", "one\ntwo\n", "", 200, again, 0},
		{long + "k", "ann", "one\ntwo\n", "", 400, "longer than 255", 0},
		{"e", "ann", "", "", 200, "{\"records\":0}\n", 0},
		{"e", "ann", "", "", 200, "{\"records\":0,\"repeated\":true}\n", 0},
	} {
		body := []byte(x.body)
		q := post(t, "POST", r.address, nil)
		if x.coding != "" {
			body = packed(t, x.coding, body)
			q.Header.Set("Content-Encoding", x.coding)
		}
		q.Body, q.ContentLength = http.NoBody, int64(len(body))
		if len(body) > 0 {
			q = q.Clone(t.Context())
			q.Body = post(t, "POST", r.address, bytes.NewReader(body)).Body
		}
		q.Header.Set("Idempotency-Key", x.key)
		if x.user == "" {
			q.Header.Set("Authorization", "Bearer y")
		} else {
			q.SetBasicAuth(x.user, "x")
		}
		status, text, _ := do(t, c, q)
		if status != x.status || !strings.Contains(text, x.text) {
			t.Errorf("request %d: %d %s", i, status, text)
		}
		stored += x.records
		if n := len(st.records()); n != stored {
			t.Fatalf("request %d: %d records stored instead of %d", i, n, stored)
		}
	}
	if n := r.counters.RepeatedRequests.Load(); n != 4 {
		t.Errorf("%d repeats counted", n)
	}
	q := post(t, "POST", r.address, strings.NewReader("x\n"))
	q.Header["Idempotency-Key"] = []string{"a", "b"}
	q.SetBasicAuth("ann", "x")
	if status, text, _ := do(t, c, q); status != 400 {
		t.Errorf("two keys: %d %s", status, text)
	}
}

// TestHTTPRepeatsAtOnce sends the same request many times over at once, and the queue does not take the first attempts.
func TestHTTPRepeatsAtOnce(t *testing.T) {
	st := newStore()
	var attempts atomic.Int32
	st.refuse = func(*pack.Pack) error {
		if attempts.Add(1) <= 5 {
			return errors.New("not yet")
		}
		return nil
	}
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	c := peer(t, 2, nil)
	var refused, first, repeated atomic.Int32
	var clients sync.WaitGroup
	for range 100 {
		clients.Go(func() {
			switch status, text := postAs(t, c, r.address, "key", "one\ntwo\n"); {
			case status == 503:
				refused.Add(1)
			case status == 200 && text == once:
				first.Add(1)
			case status == 200 && text == again:
				repeated.Add(1)
			default:
				t.Errorf("%d %s", status, text)
			}
		})
	}
	clients.Wait()
	if refused.Load() != 5 || first.Load() != 1 || repeated.Load() != 94 {
		t.Errorf("%d refused, %d stored, %d repeated", refused.Load(), first.Load(), repeated.Load())
	}
	compare(t, st.records(), plain("one", "two"))
}

// TestHTTPRepeatWhileWaiting repeats a request whose records are not durable yet: nobody hears 200 before they are.
func TestHTTPRepeatWhileWaiting(t *testing.T) {
	st := newStore()
	st.log = newDurability()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	c := client(t)
	answers := make(chan string, 2)
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			_, text := postAs(t, c, r.address, "key", "one\ntwo\n")
			answers <- text
		})
		<-st.log.waiting
	}
	if used := r.memory.Used(); used != 0 {
		t.Errorf("%d bytes of the budget held while waiting", used)
	}
	select {
	case text := <-answers:
		t.Errorf("answered before the records were durable: %s", text)
	default:
	}
	close(st.log.open)
	clients.Wait()
	if a, b := <-answers, <-answers; a+b != once+again && a+b != again+once {
		t.Errorf("answers %q and %q", a, b)
	}
	compare(t, st.records(), plain("one", "two"))
}

// TestHTTPRepeatWhileStoring comes while the first is on its way into the queue, and hears of it in time.
func TestHTTPRepeatWhileStoring(t *testing.T) {
	t.Parallel()
	begun, proceed := make(chan struct{}, 2), make(chan struct{})
	r := begin[*httpInput](t, "http", anyPort, func(context.Context, *pack.Pack) (Receipt, error) {
		begun <- struct{}{}
		<-proceed
		return Receipt{}, nil
	})
	c := client(t)
	var clients sync.WaitGroup
	clients.Go(func() {
		if status, text := postAs(t, c, r.address, "key", "one\ntwo\n"); status != 200 || text != once {
			t.Errorf("%d %s", status, text)
		}
	})
	<-begun
	if status, text := postAs(t, c, r.address, "key", "one\ntwo\n"); status != 503 || !strings.Contains(text, "being stored") {
		t.Errorf("%d %s", status, text)
	}
	close(proceed)
	clients.Wait()
	if status, text := postAs(t, c, r.address, "key", "one\ntwo\n"); status != 200 || text != again {
		t.Errorf("%d %s", status, text)
	}
}

// failing is a log that fails.
type failing struct{}

func (failing) WaitDurable(context.Context, uint64) error { return errors.New("closed") }

// TestHTTPRepeatAfterFailure stores anew what may not have been stored.
func TestHTTPRepeatAfterFailure(t *testing.T) {
	var calls atomic.Int32
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort, func(ctx context.Context, p *pack.Pack) (Receipt, error) {
		switch calls.Add(1) {
		case 1:
			return Receipt{Log: failing{}}, nil
		case 2:
			panic("planted")
		}
		return st.emit(ctx, p)
	})
	c := client(t)
	for range 2 {
		q := post(t, "PUT", r.address, strings.NewReader("one\ntwo\n"))
		q.Header.Set("Idempotency-Key", "key")
		q.GetBody = nil // the client shall not try again by itself
		if answer, err := c.Do(q); err == nil {
			answer.Body.Close()
			t.Errorf("nobody knows, and it is answered with %s", answer.Status)
		}
	}
	if status, text := postAs(t, c, r.address, "key", "one\ntwo\n"); status != 200 || text != once {
		t.Errorf("%d %s", status, text)
	}
	compare(t, st.records(), plain("one", "two"))
}

// TestRepeatsWait: who waits gets its turn when the one before failed, and learns of it when that was stored.
func TestRepeatsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, id := NewRepeats(), newRepeatID("", "key")
		if _, known, err := k.begin(t.Context(), id); known || err != nil {
			t.Fatalf("known %v, %v", known, err)
		}
		var stored, knew atomic.Int32
		var others sync.WaitGroup
		for range 10 {
			others.Go(func() {
				was, known, err := k.begin(t.Context(), id)
				switch {
				case err != nil:
					t.Error(err)
				case !known:
					stored.Add(1)
					k.end(id, 7, &outcome{records: 3})
				case was.records == 3 && was.body == 7:
					knew.Add(1)
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		others.Go(func() {
			if _, _, err := k.begin(ctx, id); err == nil {
				t.Error("it waits on when its context has ended")
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		k.end(id, 7, nil)
		others.Wait()
		if stored.Load() != 1 || knew.Load() != 9 {
			t.Errorf("%d stored it, %d knew of it", stored.Load(), knew.Load())
		}
	})
}

// TestRepeatsForgets keeps the last ones, and no more.
func TestRepeatsForgets(t *testing.T) {
	k := NewRepeats()
	k.kept = 10
	store := func(n int) (known bool) {
		id := newRepeatID("", fmt.Sprint(n))
		was, known, err := k.begin(t.Context(), id)
		if err != nil || known && was.records != n {
			t.Errorf("%d: %v, %v", n, was, err)
		}
		if !known {
			k.end(id, uint64(n), &outcome{records: n})
		}
		return known
	}
	for i := range 100 {
		if store(i) {
			t.Errorf("%d is known before it came", i)
		}
		if i == 50 {
			k.forget(newRepeatID("", "50"))
		}
	}
	for i := 99; i >= 90; i-- {
		if !store(i) {
			t.Errorf("%d is forgotten", i)
		}
	}
	if len(k.mu.known) != 10 || len(k.mu.order) != 10 || len(k.mu.pending) != 0 || store(89) {
		t.Errorf("%d known, %d in order, %d pending", len(k.mu.known), len(k.mu.order), len(k.mu.pending))
	}
	if newRepeatID("a", "bc") == newRepeatID("ab", "c") {
		t.Error("two senders have one name")
	}
}
