package input

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"logmule/forward/config"
	"logmule/forward/pack"
)

// What one pack of generated records holds at most, and how often a paced generator wakes at most.
const (
	generateBody = 64 << 10
	generateTick = 10 * time.Millisecond
)

// generate makes numbered records, for trying out and for measuring:
//
//	seq=000000000001 run=9f86d081884c7d65 filler...
//
// The number starts at 1 in every run, and the filler depends on it alone, so that loss, repeats and damage show.
type generate struct {
	env   Env
	rate  int64 // records a second; 0: as fast as they are taken
	count int64 // stop after as many; 0: no end
	size  int   // of a record, without its LF
}

// generatePrefix is the length of a record's fixed part.
const generatePrefix = len("seq=000000000001 run=9f86d081884c7d65 ")

func newGenerate(decode func(into any) error, env Env) (Input, error) {
	keys := struct {
		Rate  int64        `toml:"rate" doc:"records a second; 0: as many as the queue takes"`
		Count int64        `toml:"count" doc:"records after which it ends; 0: never"`
		Size  config.Bytes `toml:"size" doc:"bytes of a record"`
	}{Size: 128}
	if err := decode(&keys); err != nil {
		return nil, err
	}
	if keys.Rate < 0 || keys.Rate > 1e9 {
		return nil, fmt.Errorf("rate = %d; use a number of records a second up to a billion, or 0 for as fast as it can", keys.Rate)
	}
	if keys.Count < 0 {
		return nil, fmt.Errorf("count = %d; use a number of records, or 0 for no end", keys.Count)
	}
	if keys.Size < config.Bytes(generatePrefix) || keys.Size > defaultMaxRecord {
		return nil, fmt.Errorf(`size = "%s" is out of range; use a size from "%dB", which the number takes, to "1MiB"`, keys.Size, generatePrefix)
	}
	return &generate{env: env, rate: keys.Rate, count: keys.Count, size: int(keys.Size)}, nil
}

// Run emits records until count is reached and all of them are durable, or until ctx ends. Either way it returns nil.
func (g *generate) Run(ctx context.Context, emit Emit) error {
	var random [8]byte
	rand.Read(random[:])
	run := hex.EncodeToString(random[:])
	g.env.Ready("generate")

	var latest Receipt
	p := pack.Pack{Source: g.env.source(), Shared: g.env.attributes("generate"), Form: pack.Lines}
	pace := pace{rate: g.rate, next: time.Now()}
	most := int64(max(1, generateBody/(g.size+1)))
	for done := int64(0); g.count == 0 || done < g.count; {
		n := pace.wait(ctx, most)
		if n == 0 {
			return nil
		}
		if g.count > 0 {
			n = min(n, g.count-done)
		}
		p.Body = p.Body[:0]
		for i := range n {
			p.Body = appendGenerated(p.Body, done+i+1, run, g.size)
		}
		p.Count = int(n)
		p.Shared.Timestamp = time.Now().UnixNano()
		receipt, err := emit(ctx, &p)
		switch {
		case err == nil:
			latest = receipt
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, ErrDropped):
			return fmt.Errorf("hand over records of input %s: %w", g.env.Name, err)
		}
		done += n
	}
	if err := latest.Wait(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for the records of input %s to be durable: %w; see the queue's errors", g.env.Name, err)
	}
	g.env.Log.Info("all records generated", "input", g.env.Name, "count", g.count, "run", run)
	return nil
}

// pace spreads records over time.
type pace struct {
	rate int64     // records a second; 0: no limit
	next time.Time // when the next record is due
}

// wait waits until records are due and returns how many, at most most; 0 when ctx has ended.
func (p *pace) wait(ctx context.Context, most int64) int64 {
	for ctx.Err() == nil {
		n, pause := p.due(time.Now(), most)
		if n > 0 {
			return n
		}
		select {
		case <-time.After(max(pause, generateTick)):
		case <-ctx.Done():
		}
	}
	return 0
}

// due returns how many records are due now, or how long until the next one is. Who was held up for more than a second
// does not make up for it: a queue that was full is not flooded.
func (p *pace) due(now time.Time, most int64) (n int64, pause time.Duration) {
	if p.rate == 0 {
		return most, 0
	}
	behind := now.Sub(p.next)
	if behind < 0 {
		return 0, -behind
	}
	if behind > time.Second {
		behind, p.next = 0, now
	}
	n = min(1+int64(behind)*p.rate/int64(time.Second), most)
	p.next = p.next.Add(time.Duration(n * int64(time.Second) / p.rate))
	return n, 0
}

// filler is what generated records are filled with, each from another place in it on.
const filler = "127.0.0.1 - - [10/Oct/2025:13:55:36 +0000] \"GET /var/lib/records?page=17&sort=time HTTP/1.1\" 200 2326 " +
	"the quick brown fox jumps over the lazy dog while a mule carries logs across the mountain; level=info took=14.2ms "

// appendGenerated appends record number seq of size bytes and its LF. size is at least generatePrefix.
func appendGenerated(dst []byte, seq int64, run string, size int) []byte {
	end := len(dst) + size
	dst = fmt.Appendf(dst, "seq=%012d run=%s ", seq, run)
	for at := int(seq * 31 % int64(len(filler))); len(dst) < end; at = 0 {
		dst = append(dst, filler[at:min(len(filler), at+end-len(dst))]...)
	}
	return append(dst[:end], '\n')
}
