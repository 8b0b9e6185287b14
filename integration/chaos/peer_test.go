package chaos

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// notes are the records that a peer took.
type notes struct {
	mu   sync.Mutex
	text []string
}

func (n *notes) add(record []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, string(record))
}

func (n *notes) want(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("took %q, want %q", got, want)
		}
	}()
	wait(t, "all is taken", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		got = slices.Clone(n.text)
		return slices.Equal(got, want)
	})
}

// TestPeers: what a client of net/http sees of each peer, for two requests, and what the peer took.
func TestPeers(t *testing.T) {
	for name, c := range map[string]struct {
		b          Behaviour
		first, two string // of each answer: its status, or a part of the error
		took       []string
	}{
		"deaf":             {Deaf, "deadline", "deadline", nil},
		"mute":             {Mute, "deadline", "deadline", nil},
		"chatter":          {Chatter, "", "", nil},
		"slam":             {Slam, "reset", "reset", nil},
		"answer and close": {AnswerAndClose, "200", "200", []string{"a", "b", "a", "b"}},
		"half answer":      {HalfAnswer, "deadline", "deadline", nil},
		"half body":        {HalfBody, "200", "200", []string{"a", "b", "a", "b"}},
		"garbage":          {Garbage, "malformed", "malformed", nil},
		"early answer":     {EarlyAnswer, "200", "200", []string{"a", "b", "a", "b"}},
		"posts":            {Posts, "200", "200", []string{"a", "b", "a", "b"}},
		"close as next":    {CloseAsNext, "200", "reset", []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			var took notes
			p, err := StartPeer("127.0.0.1:0", c.b, NewStore(took.add))
			must(t, err)
			t.Cleanup(p.Close)
			var transport *http.Transport
			for i, want := range []string{c.first, c.two} {
				if i == 0 || name != "close as next" {
					transport = new(http.Transport)
					t.Cleanup(transport.CloseIdleConnections)
				}
				limit := patience
				if want == "deadline" || want == "" { // nothing is to come
					limit = 300 * time.Millisecond
				}
				got := post(t, transport, "http://"+p.Address(), limit)
				if !strings.Contains(got, want) && !(want == "reset" && (strings.Contains(got, "EOF") || strings.Contains(got, "broken pipe"))) {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			took.want(t, c.took...)
		})
	}
}

func post(t *testing.T, transport *http.Transport, url string, limit time.Duration) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), limit)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("a\nb\n"))
	must(t, err)
	r.GetBody = nil
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.Status
}

// server takes one connection and gives what came on it.
func server(t *testing.T, answer string) (address string, said <-chan string) {
	t.Helper()
	text := make(chan string, 1)
	p, err := StartPeer("127.0.0.1:0", func(v *Visit) {
		if answer != "" && !v.say(answer) {
			return
		}
		got, err := rest(v)
		if isReset(err) {
			got += " reset"
		}
		text <- got
	}, nil)
	must(t, err)
	t.Cleanup(p.Close)
	return p.Address(), text
}

func TestTalk(t *testing.T) {
	for name, c := range map[string]struct {
		talk Talk
		want string
	}{
		"byte by byte": {Talk{Text: []byte("abc"), Every: time.Millisecond}, "abc"},
		"reset":        {Talk{Then: LeaveReset}, " reset"},
		"hear":         {Talk{Text: []byte("abc"), Then: Hear}, "abc"},
	} {
		t.Run(name, func(t *testing.T) {
			text := ""
			if c.talk.Then == Hear {
				text = "answer"
			}
			address, said := server(t, text)
			answer, err := c.talk.Run(t.Context(), address)
			must(t, err)
			if got := <-said; got != c.want || string(answer) != text {
				t.Errorf("said %q and heard %q", got, answer)
			}
		})
	}
	t.Run("hang", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		said := make(chan string, 1)
		p, err := StartPeer("127.0.0.1:0", func(v *Visit) {
			got := make([]byte, 3)
			_, _ = io.ReadFull(v, got)
			_ = v.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := v.Read(make([]byte, 1)); !isTimeout(err) {
				got = append(got, "and did not stay"...)
			}
			stop()
			said <- string(got)
		}, nil)
		must(t, err)
		t.Cleanup(p.Close)
		if _, err := (Talk{Text: []byte("abc"), Then: Hang}).Run(ctx, p.Address()); err != nil || ctx.Err() == nil {
			t.Errorf("it returned before its time, or failed: %v", err)
		}
		if got := <-said; got != "abc" {
			t.Errorf("said %q", got)
		}
	})
}

func TestStorm(t *testing.T) {
	p, err := StartPeer("127.0.0.1:0", Mute, nil)
	must(t, err)
	t.Cleanup(p.Close)
	if n := Storm(t.Context(), p.Address(), 100); n != 100 {
		t.Errorf("%d connected", n)
	}
}

func TestSecured(t *testing.T) {
	p, err := StartPeer("127.0.0.1:0", Secured(&tls.Config{}, Mute), nil)
	must(t, err)
	t.Cleanup(p.Close)
	c, err := net.Dial("tcp", p.Address())
	must(t, err)
	defer func() { _ = c.Close() }()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	if err := tls.Client(c, &tls.Config{ServerName: "x"}).Handshake(); err == nil {
		t.Error("a handshake without a certificate")
	}
}

func TestLines(t *testing.T) {
	var took notes
	p, err := StartPeer("127.0.0.1:0", Lines, NewStore(took.add))
	must(t, err)
	t.Cleanup(p.Close)
	first, err := net.Dial("tcp", p.Address())
	must(t, err)
	say(t, first, "one\ntw")
	took.want(t, "one")
	second, err := net.Dial("tcp", p.Address())
	must(t, err)
	defer func() { _ = second.Close() }()
	say(t, second, "two\n\nthr")
	took.want(t, "one", "two", "")
	must(t, first.SetDeadline(time.Now().Add(patience)))
	if _, err := first.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the connection before: %v", err)
	}
}

func TestRepeatsAreTakenOnce(t *testing.T) {
	var took notes
	s := NewStore(took.add)
	s.Take("k", []byte("a\nb\n"))
	s.Take("k", []byte("a\nb\n"))
	s.Take("", []byte("c\n"))
	s.Take("", []byte("c\n"))
	took.want(t, "a", "b", "c", "c")
	if n := s.Repeats(); n != 2 {
		t.Errorf("%d repeats, want 2", n)
	}
}
