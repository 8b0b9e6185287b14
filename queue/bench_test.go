package queue

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// corpus is n lines of 256 bytes that compress about as well as real logs do.
func corpus(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		line := fmt.Sprintf("2026-03-%02dT12:%02d:%02d.%06d host-%d app[%d]: level=info request=%08x path=/api/v1/items/%d status=%d bytes=%d user=%s ",
			1+i%28, i%60, (i*7)%60, i*7919%1000000, i%16, 1000+i%97, uint32(i)*2654435761, i*31%100000, 200+i%5, i*37%65536, noise(uint64(i), 12))
		b.WriteString(line)
		b.WriteString(noise(uint64(i)*3, 10))
		for b.Len()%256 != 255 {
			b.WriteByte("abcdefgh "[b.Len()%9])
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// BenchmarkAppendRead is one producer of 1,000 records of 256 bytes a pack, with and without an output that follows.
func BenchmarkAppendRead(b *testing.B) {
	body := corpus(1000)
	for _, follow := range []bool{false, true} {
		b.Run(fmt.Sprintf("follow=%v", follow), func(b *testing.B) {
			q, err := Open(Options{Dir: b.TempDir(), Codec: segment.Snappy, MinFree: -1})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			r := q.Reader("out", Oldest)
			finished := make(chan struct{})
			if follow {
				go func() {
					defer close(finished)
					var f segment.Frame
					for {
						if _, err := r.Next(ctx, &f); err != nil {
							return
						}
						r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
					}
				}()
			} else {
				close(finished)
			}
			run := []segment.Run{{Form: segment.Lines, Count: 1000, Raw: uint32(len(body)), Key: []byte("in/a"), Attributes: []byte("some attributes"), Body: body}}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			var last uint64
			for b.Loop() {
				if last, err = q.Append(ctx, run); err != nil {
					b.Fatal(err)
				}
			}
			if err := q.WaitDurable(ctx, last); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			cancel()
			<-finished
			r.Close()
			if err := q.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
