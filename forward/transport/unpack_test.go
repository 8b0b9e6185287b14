package transport

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestUnpackBomb gives little room to much content, again and again with more, as an input does.
func TestUnpackBomb(t *testing.T) {
	u := NewUnpacker()
	zeros := make([]byte, 64<<20)
	for _, c := range []Coding{gzipCoding, deflateCoding, zstdCoding, framedCoding, snappyCoding} {
		bomb := packWith(t, c, zeros)
		if c == gzipCoding || c == zstdCoding {
			bomb = bytes.Repeat(bomb, 16) // 1 GiB
		}
		dst := make([]byte, 1<<20)
		for range 2 { // the first one fills the pool
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			n, err := u.Unpack(t.Context(), c, dst, bomb)
			runtime.ReadMemStats(&after)
			if err != ErrRoom || n > len(dst) {
				t.Errorf("%s: %d, %v", c, n, err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
				t.Errorf("%s: %d bytes packed took %d bytes of memory for %d bytes of room", c, len(bomb), took, len(dst))
			}
		}
	}
}

// TestUnpackLies are bodies that claim to be longer than they can be.
func TestUnpackLies(t *testing.T) {
	u := NewUnpacker()
	for name, x := range map[string]struct {
		coding Coding
		body   []byte
	}{
		"block of 4 GiB":   {snappyCoding, []byte("\xff\xff\xff\xff\x0fx")},
		"block of 64 bits": {snappyCoding, []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x")},
		"frame of 4 GiB":   {zstdCoding, []byte("\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff\x01\x00\x00")},
	} {
		guess := x.coding.Guess(x.body, 1<<30)
		if guess > 32*len(x.body)+2*zstdBlock {
			t.Errorf("%s: %d bytes are taken to be %d", name, len(x.body), guess)
		}
		for room := guess; ; room *= 4 {
			_, err := u.Unpack(t.Context(), x.coding, make([]byte, room), x.body)
			if err == nil || errors.Is(err, ErrRoom) && room > 1<<28 {
				t.Fatalf("%s with room for %d: %v", name, room, err)
			}
			if !errors.Is(err, ErrRoom) {
				break
			}
			if room == 0 {
				room = 1 << 10
			}
		}
	}
}

// TestUnpackSmallBlocks takes frames of many small blocks, of which the size is not known before.
func TestUnpackSmallBlocks(t *testing.T) {
	var packed bytes.Buffer
	e, err := zstd.NewWriter(&packed, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	var content []byte
	for i := range 2000 {
		part := bytes.Repeat([]byte{byte('a' + i%26)}, 50)
		content = append(content, part...)
		if _, err := e.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if guess := zstdCoding.Guess(packed.Bytes(), 1<<30); guess > 32*packed.Len()+zstdBlock {
		t.Errorf("%d bytes are taken to be %d", packed.Len(), guess)
	}
	dst := make([]byte, len(content))
	if n, err := NewUnpacker().Unpack(t.Context(), zstdCoding, dst, packed.Bytes()); err != nil || !bytes.Equal(dst[:n], content) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestUnpackWaitsForItsTurn ends with the context.
func TestUnpackWaitsForItsTurn(t *testing.T) {
	u := NewUnpacker()
	for range cap(u.turns) {
		u.turns <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.Unpack(ctx, gzipCoding, nil, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestPacker(t *testing.T) {
	u := NewUnpacker()
	for _, name := range compressions {
		p, err := NewPacker(name)
		if err != nil || (p == nil) != (name == "none") {
			t.Fatalf("%s: %v, %v", name, p, err)
		}
		if p == nil {
			continue
		}
		for _, content := range contents() {
			if len(content) == 0 {
				continue
			}
			half := len(content) / 2
			packed, err := p.Pack([][]byte{content[:half], nil, content[half:]}, len(content))
			if err != nil {
				t.Fatal(err)
			}
			dst := make([]byte, len(content))
			if n, err := u.Unpack(t.Context(), p.Coding(), dst, packed); err != nil || !bytes.Equal(dst[:n], content) {
				t.Errorf("%s of %d bytes: %d, %v", name, len(content), n, err)
			}
			if guess := p.Coding().Guess(packed, 1<<30); guess < len(content) {
				t.Errorf("%s of %d bytes does not say how long it is: %d", name, len(content), guess)
			}
			p.Shrink(len(packed) / 2)
		}
	}
	if _, err := NewPacker("brotli"); err == nil {
		t.Error("an unknown compression is taken")
	}
}

// FuzzUnpack holds that nothing is ever written beyond the room, and that whatever is unpacked is the same again.
func FuzzUnpack(f *testing.F) {
	for i, c := range codings {
		for _, content := range contents()[:3] {
			f.Add(uint8(i), uint16(len(content)), packWith(f, c, content))
			f.Add(uint8(i), uint16(1000), packWith(f, c, bytes.Repeat(content, 3)))
		}
		f.Add(uint8(i), uint16(1000), bytes.Repeat(packWith(f, c, []byte("again\n")), 3))
	}
	f.Add(uint8(4), uint16(100), []byte("\xff\xff\xff\xff\x0fx"))
	u := NewUnpacker()
	f.Fuzz(func(t *testing.T, which uint8, room uint16, body []byte) {
		c := codings[int(which)%len(codings)]
		if guess, most := c.Guess(body, 1<<20), c.Most(len(body), 1<<20); guess < 0 || guess > most || most > 1<<20 {
			t.Fatalf("guess %d, most %d", guess, most)
		}
		given := bytes.Clone(body)
		memory := bytes.Repeat([]byte{0xa5}, int(room)+64)
		n, err := u.Unpack(t.Context(), c, memory[:room], body)
		if n > int(room) || !bytes.Equal(body, given) || !bytes.Equal(memory[room:], bytes.Repeat([]byte{0xa5}, 64)) {
			t.Fatalf("%s: %d bytes, %v: written where it must not", c, n, err)
		}
		if err != nil {
			return
		}
		again := make([]byte, n)
		if m, err := u.Unpack(t.Context(), c, again, body); m != n || err != nil || !bytes.Equal(again, memory[:n]) {
			t.Fatalf("%s: %d bytes with room, %d and %v without any to spare", c, n, m, err)
		}
	})
}
