package input

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"logmule/forward/pack"
)

// packed compresses content as clients do.
func packed(t testing.TB, coding string, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "zstd":
		e, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		w = e
	case "x-snappy-framed":
		w = snappy.NewBufferedWriter(&out)
	default:
		return snappy.Encode(nil, content)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var codings = []string{"gzip", "deflate", "zstd", "snappy", "x-snappy-framed"}

func TestHTTPCodings(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort+"max_body = \"2MB\"\nmax_record = \"1100KB\"\n", st.emit)
	c := client(t)
	var want []line
	send := func(coding string, body []byte, sized bool) (int, string) {
		t.Helper()
		var from io.Reader = bytes.NewReader(body)
		if !sized {
			from = unsized{from}
		}
		q := post(t, "POST", r.address, from)
		q.Header.Set("Content-Encoding", coding)
		status, text, _ := do(t, c, q)
		return status, text
	}
	for _, coding := range codings {
		for _, records := range [][]string{
			{"one", "two", "", "\x00\xff\r"}, {"x"}, {strings.Repeat("l", 1<<20)},
			strings.Split(strings.Repeat("the same again and again;", 10_000), ";"),
		} {
			body := packed(t, coding, []byte(strings.Join(records, "\n")+"\n"))
			if coding == "snappy" {
				body = packed(t, coding, []byte(strings.Join(records, "\n"))) // no LF at the end: there is room for one
			}
			for _, sized := range []bool{true, false} {
				n := len(records)
				if coding == "snappy" && records[n-1] == "" {
					n--
				}
				if status, text := send(coding, body, sized); status != 200 || text != fmt.Sprintf("{\"records\":%d}\n", n) {
					t.Errorf("%s, %d records, sized %v: %d %s", coding, len(records), sized, status, text)
				}
				want = append(want, plain(records[:n]...)...)
				compare(t, st.wait(t, 0), want)
			}
		}
		whole := packed(t, coding, []byte("one\ntwo\n"))
		for _, cut := range []int{1, len(whole) / 2, len(whole) - 1} {
			if status, text := send(coding, whole[:cut], true); status != 400 || !strings.Contains(text, coding) {
				t.Errorf("%s cut after %d bytes: %d %s", coding, cut, status, text)
			}
		}
		if status, text := send(coding, append(whole, "garbage"...), true); status != 400 {
			t.Errorf("%s with garbage behind it: %d %s", coding, status, text)
		}
		long := packed(t, coding, []byte("short\n"+strings.Repeat("x", 1_100_001)))
		if status, text := send(coding, long, true); status != 413 || !strings.Contains(text, "record 2") {
			t.Errorf("%s with a long record: %d %s", coding, status, text)
		}
		exact := strings.Repeat(strings.Repeat("x", 999)+"\n", 2000)
		over := exact + "\n"
		if status, text := send(coding, packed(t, coding, []byte(over)), true); status != 413 || !strings.Contains(text, "max_body") {
			t.Errorf("%s, one byte over max_body: %d %s", coding, status, text)
		}
		if status, text := send(coding, packed(t, coding, []byte(exact)), true); status != 200 {
			t.Errorf("%s, exactly max_body: %d %s", coding, status, text)
		}
		want = append(want, plain(strings.Split(exact[:len(exact)-1], "\n")...)...)
		compare(t, st.wait(t, 0), want)
	}
	two := append(packed(t, "gzip", []byte("mem\n")), packed(t, "gzip", []byte("ber\n"))...)
	if status, text := send("X-GZIP", two, true); status != 200 {
		t.Errorf("two members: %d %s", status, text)
	}
	compare(t, st.wait(t, 0), append(want, plain("mem", "ber")...))
}

// TestHTTPBombs sends little that is much: it is refused at max_body, and the memory is what max_body justifies.
func TestHTTPBombs(t *testing.T) {
	const maxBody = 1 << 20
	r := begin(t, "http", anyPort+"max_body = \"1MiB\"\n", discard, func(h *httpInput) { h.env.Memory = NewBudget(8 << 20) })
	c := client(t)
	zeros := make([]byte, 64<<20)
	for _, coding := range codings {
		body := packed(t, coding, zeros)
		switch coding {
		case "gzip":
			body = bytes.Repeat(body, 15) // almost 1 GiB
		case "zstd":
			body = bytes.Repeat(body, 64)
		case "snappy", "x-snappy-framed":
			body = packed(t, coding, zeros[:16<<20]) // it cannot do more in 1 MiB
		}
		if len(body) > maxBody {
			t.Fatalf("%s: %d bytes", coding, len(body))
		}
		for range 2 { // the first one fills pools
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			q := post(t, "POST", r.address, bytes.NewReader(body))
			q.Header.Set("Content-Encoding", coding)
			status, text, _ := do(t, c, q)
			runtime.ReadMemStats(&after)
			if status != 413 || !strings.Contains(text, "max_body") {
				t.Errorf("%s: %d %s", coding, status, text)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 12*maxBody {
				t.Errorf("%s: %d bytes were allocated", coding, took)
			}
		}
	}
}

// TestHTTPUnpackedMemory refuses what the budget has no room for when it is unpacked.
func TestHTTPUnpackedMemory(t *testing.T) {
	t.Parallel()
	memory := NewBudget(1 << 20)
	st := newStore()
	r := begin(t, "http", anyPort, st.emit, func(h *httpInput) { h.env.Memory = memory })
	if !memory.TryAcquire(900 << 10) {
		t.Fatal("no memory")
	}
	if err := memory.Acquire(t.Context(), 200<<10); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	body := packed(t, "gzip", bytes.Repeat([]byte("x\n"), 1<<20))
	send := func() (int, string, string) {
		q := post(t, "POST", r.address, bytes.NewReader(body))
		q.Header.Set("Content-Encoding", "gzip")
		status, text, header := do(t, c, q)
		return status, text, header.Get("Retry-After")
	}
	if status, text, after := send(); status != 503 || after != "1" || !strings.Contains(text, "memory_limit") {
		t.Errorf("%d %s", status, text)
	}
	memory.Release(1100 << 10)
	if status, text, _ := send(); status != 200 { // more than the budget, which one may have
		t.Errorf("%d %s", status, text)
	}
	eventually(t, "the memory to be given back", func() bool { return memory.Used() == 0 })
	st.wait(t, 1<<20)
}

// TestHTTPUnpackedAlone has a budget for one at a time: who has waited for memory never waits for more of it.
func TestHTTPUnpackedAlone(t *testing.T) {
	st := newStore()
	memory := NewBudget(0)
	r := begin(t, "http", anyPort, st.emit, func(h *httpInput) { h.env.Memory = memory })
	content := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 20_000)
	for i, coding := range codings {
		for _, sized := range []bool{true, false} {
			var body io.Reader = bytes.NewReader(packed(t, coding, content))
			if !sized {
				body = unsized{body}
			}
			q := post(t, "POST", r.address, body)
			q.Header.Set("Content-Encoding", coding)
			if status, text, _ := do(t, client(t), q); status != 200 {
				t.Errorf("%s, sized %v: %d %s", coding, sized, status, text)
			}
		}
		st.wait(t, 2*(i+1)*20_000)
	}
}

// FuzzHTTPBody: whatever comes in whatever coding is stored whole or refused, and all memory is given back.
func FuzzHTTPBody(f *testing.F) {
	for i, coding := range codings {
		f.Add(uint8(i), packed(f, coding, []byte("one\ntwo")), "key")
		f.Add(uint8(i), packed(f, coding, bytes.Repeat([]byte("x\n"), 4000)), "")
	}
	f.Add(uint8(5), []byte("plain\n"), "")
	f.Fuzz(func(t *testing.T, which uint8, body []byte, key string) {
		emitted := 0
		env := Env{Name: "test", Memory: NewBudget(1 << 20)}.withDefaults()
		in, err := newHTTP(section(t, "http", anyPort+"max_body = \"5KiB\"\nmax_record = \"1KiB\"\n"), env)
		if err != nil {
			t.Fatal(err)
		}
		emit := func(_ context.Context, p *pack.Pack) (Receipt, error) {
			if len(p.Body) > 5<<10+1 || len(p.Body) == 0 || p.Body[len(p.Body)-1] != '\n' || longRecord(p.Body, 1<<10) > 0 {
				t.Errorf("a pack of %d bytes", len(p.Body))
			}
			emitted++
			return Receipt{}, nil
		}
		for round := range 2 {
			q := httptest.NewRequest("POST", "/", bytes.NewReader(body))
			q.Header["Idempotency-Key"] = []string{key}
			if i := int(which) % (len(codings) + 1); i < len(codings) {
				q.Header.Set("Content-Encoding", codings[i])
			}
			answer := httptest.NewRecorder()
			newRequest(in.(*httpInput), t.Context(), t.Context(), emit, answer, q).serve()
			switch answer.Code {
			case 200:
				if emitted > 1 && key != "" && len(key) <= longestKey {
					t.Errorf("%d packs of one key", emitted)
				}
			case 400, 413:
				if emitted > 0 {
					t.Errorf("answered %d in round %d, but stored", answer.Code, round)
				}
			default:
				t.Errorf("answered %d", answer.Code)
			}
			if used := env.Memory.Used(); used != 0 {
				t.Errorf("%d bytes not given back", used)
			}
		}
	})
}
