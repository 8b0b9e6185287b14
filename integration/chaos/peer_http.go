package chaos

import (
	"bufio"
	"io"
	"net/http"
	"time"
)

// request is one that came whole.
type request struct {
	key  string
	body []byte
}

func (v *Visit) request(from *bufio.Reader) (request, bool) {
	r, err := http.ReadRequest(from)
	if err != nil {
		return request{}, false
	}
	body, err := io.ReadAll(r.Body)
	return request{r.Header.Get("Idempotency-Key"), body}, err == nil
}

func (v *Visit) take(r request) { v.peer.store.Take(r.key, r.body) }

func (v *Visit) say(text string) bool {
	_, err := io.WriteString(v, text)
	return err == nil
}

const accepted = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// Posts is a good server: it takes every request and answers 200.
func Posts(v *Visit) { v.serve(func() bool { return true }) }

// serve takes every request and answers 200, as long as after, which is called then, says so.
func (v *Visit) serve(after func() bool) {
	from := bufio.NewReader(v)
	for {
		r, ok := v.request(from)
		if !ok {
			return
		}
		v.take(r)
		if !v.say(accepted) || !after() {
			return
		}
	}
}

// AnswerAndClose takes a request, answers 200 as if the connection went on, and closes it.
func AnswerAndClose(v *Visit) {
	if r, ok := v.request(bufio.NewReader(v)); ok {
		v.take(r)
		v.say(accepted)
	}
}

// HalfAnswer reads a request and answers the half of a header; then it is silent.
func HalfAnswer(v *Visit) {
	if _, ok := v.request(bufio.NewReader(v)); ok && v.say("HTTP/1.1 200 OK\r\nContent-Le") {
		v.hold()
	}
}

// HalfBody takes a request, answers 200 with a part of the body that it announces, and resets the connection.
func HalfBody(v *Visit) {
	if r, ok := v.request(bufio.NewReader(v)); ok {
		v.take(r)
		v.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome of it")
		time.Sleep(5 * time.Millisecond) // so that the answer is there before the reset, which takes what is on its way
		abort(v.Conn)
	}
}

// Garbage reads a request and answers with what is no HTTP.
func Garbage(v *Visit) {
	if _, ok := v.request(bufio.NewReader(v)); ok {
		v.say("\x16\x03\x01\x00\xa5 220 mail.example ESMTP \xff\xfe\r\n\r\n250 OK\r\n")
	}
}

// EarlyAnswer answers 200 as soon as the header is there, and takes the body, slowly, only if it comes whole.
func EarlyAnswer(v *Visit) {
	from := bufio.NewReader(v)
	for {
		r, err := http.ReadRequest(from)
		if err != nil || !v.say(accepted) {
			return
		}
		time.Sleep(20 * time.Millisecond)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		v.take(request{r.Header.Get("Idempotency-Key"), body})
	}
}

// CloseAsNext takes a request and answers it, keeps the connection, and resets it when the next one begins to come.
func CloseAsNext(v *Visit) {
	from := bufio.NewReader(v)
	if r, ok := v.request(from); ok {
		v.take(r)
		if v.say(accepted) {
			_, _ = from.Peek(1)
			abort(v.Conn)
		}
	}
}

// Unasked takes requests and answers them, and says more than it was asked for, after a while.
func Unasked(v *Visit) {
	v.serve(func() bool {
		time.Sleep(2 * time.Millisecond)
		return v.say("220 mail.example ESMTP\r\n\x00\xff")
	})
}
