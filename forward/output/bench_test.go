package output

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkHTTP posts batches of 1 MiB to a server that reads them.
func BenchmarkHTTP(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer s.Close()
	o, err := newHTTP(func(into any) error { into.(*httpConfig).URL = s.URL; return nil }, Env{}.withDefaults())
	if err != nil {
		b.Fatal(err)
	}
	defer o.(*httpOutput).Close()
	run := linesRun(strings.Split(strings.Repeat(strings.Repeat("x", 127)+"\n", 2047)+"y", "\n")...)
	batch := batchOf("1", run, run, run, run)
	b.SetBytes(int64(batch.Bytes()))
	b.ReportAllocs()
	for b.Loop() {
		if err := o.Send(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		h := o.(*httpOutput)
		h.batch = "" // it is another one
	}
}

// BenchmarkTCP sends batches of 256 KiB to a peer that reads and does nothing else.
func BenchmarkTCP(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	o, err := newTCP(func(into any) error { into.(*tcpKeys).Address = l.Addr().String(); return nil }, Env{}.withDefaults())
	if err != nil {
		b.Fatal(err)
	}
	defer o.(*stream).Close()
	batch := batchOf("1", linesRun(strings.Split(strings.Repeat(strings.Repeat("x", 127)+"\n", 2047)+"y", "\n")...))
	b.SetBytes(int64(batch.Bytes()))
	b.ReportAllocs()
	for b.Loop() {
		if err := o.Send(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFile appends batches of 256 KiB.
func BenchmarkFile(b *testing.B) {
	o, err := newFile(func(into any) error { into.(*fileKeys).Path = b.TempDir() + "/app.log"; return nil }, Env{}.withDefaults())
	if err != nil {
		b.Fatal(err)
	}
	batch := batchOf("1", linesRun(strings.Split(strings.Repeat(strings.Repeat("x", 127)+"\n", 2047)+"y", "\n")...))
	b.SetBytes(int64(batch.Bytes()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := deliver(o.(*file), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := o.(*file).Close(); err != nil {
		b.Fatal(err)
	}
}
