package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

// madeFile holds every kind of line that has broken a forwarder: empty ones, NUL, invalid UTF-8, lone CR, CR LF, short
// and very long ones, and a last one without LF.
func madeFile(r *rand.Rand) []byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			if b[i] = byte(r.Uint32()); b[i] == '\n' {
				b[i] = 0
			}
		}
		return b
	}
	var b bytes.Buffer
	for i := range 30_000 {
		switch i % 10 {
		case 0:
		case 1:
			b.WriteString("\x00\x00 NUL \x00")
		case 2:
			b.WriteString("\xff\xfe not UTF-8 \xc3\x28 \xf0\x9f")
		case 3:
			b.WriteString("a lone CR \r in the middle")
		case 4:
			b.WriteString("CR before LF\r")
		case 5:
			b.WriteByte('\r')
		default:
			b.Write(noise(100))
		}
		b.WriteByte('\n')
		if i%5_000 == 0 {
			b.Write(noise(1 << 20))
			b.WriteByte('\n')
		}
	}
	b.WriteString("no LF at the end")
	return b.Bytes()
}

type logFile struct {
	name string
	text []byte
}

// logFiles is the made file, and those of the directory LOGMULE_LOGS where it is named.
func logFiles(t *testing.T) []logFile {
	t.Helper()
	seed := judge.Seed()
	t.Logf("%s=%d", judge.SeedVariable, seed)
	files := []logFile{{"made", madeFile(judge.New(seed).Rand("made file"))}}
	dir := os.Getenv("LOGMULE_LOGS")
	if dir == "" {
		return files
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	must(t, err)
	if len(names) == 0 {
		t.Fatalf("LOGMULE_LOGS names %s, which holds no *.log", dir)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		must(t, err)
		files = append(files, logFile{filepath.Base(name), text})
	}
	return files
}

func TestLinesStayIdentical(t *testing.T) {
	files := logFiles(t)
	for _, route := range []struct{ from, to string }{{"tcp", "file"}, {"http", "file"}, {"http", "http"}, {"tcp", "tcp"}} {
		for _, f := range files {
			t.Run(fmt.Sprintf("%s to %s/%s", route.from, route.to, f.name), func(t *testing.T) { identical(t, route.from, route.to, f.text) })
		}
	}
}

// identical sends a text through one route; what comes out is the same with a LF after every line.
func identical(t *testing.T, from, to string, text []byte) {
	in := freeAddress(t)
	var got func() []byte
	var output string
	arrived := new(gathered)
	switch to {
	case "file":
		name := filepath.Join(t.TempDir(), "out.log")
		output = fmt.Sprintf("path = %q", name)
		got = func() []byte {
			b, _ := os.ReadFile(name) // not there before the first record
			return b
		}
	case "http":
		output = fmt.Sprintf("url = %q", httpSink(t, "127.0.0.1:0", arrived.add).URL)
		got = arrived.bytes
	case "tcp":
		s, err := rig.NewTCPSink("127.0.0.1:0", arrived.add)
		must(t, err)
		t.Cleanup(s.Close)
		output = fmt.Sprintf("address = %q", s.Address)
		got = arrived.bytes
	}
	l := newLab(t, fmt.Sprintf("[input.in]\ntype = %q\nlisten = %q\n[output.out]\ntype = %q\n%s\n", from, in, to, output))
	l.start()
	if from == "tcp" {
		c, err := net.Dial("tcp", in)
		must(t, err)
		_, err = c.Write(text)
		must(t, err)
		must(t, c.Close())
	} else {
		postWhole(t, "http://"+in+"/", text)
	}
	want := text
	if !bytes.HasSuffix(want, []byte{'\n'}) {
		want = append(bytes.Clone(want), '\n')
	}
	err := rig.Wait(patience, "as many bytes came out as went in", func() bool { return len(got()) >= len(want) })
	if out := got(); !bytes.Equal(out, want) {
		t.Fatalf("%d bytes in, %d out, %s; %v", len(want), len(out), firstDifference(want, out), err)
	}
}

// postWhole posts a text in bodies of whole lines, below the default max_body.
func postWhole(t *testing.T, url string, text []byte) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for len(text) > 0 {
		body := text
		if len(body) > 8<<20 {
			body = body[:bytes.LastIndexByte(body[:8<<20], '\n')+1]
		}
		status, err := rig.Post(t.Context(), client, url, body)
		must(t, err)
		if status != http.StatusOK {
			t.Fatalf("post of %d bytes: %d", len(body), status)
		}
		text = text[len(body):]
	}
}

func firstDifference(want, got []byte) string {
	n := min(len(want), len(got))
	for i := range n {
		if want[i] != got[i] {
			return fmt.Sprintf("first difference at byte %d: want %.40q, got %.40q", i, want[i:], got[i:])
		}
	}
	return fmt.Sprintf("the same for %d bytes", n)
}
