package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// model is a file as the rules say: what is seen, what is durable, and whether each sector may be on the disk.
type model struct{ seen, durable []byte }

// TestContent does random things to a file and compares it, and what power losses leave of it, with the model.
func TestContent(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c, err := openContent(filepath.Join(t.TempDir(), "1"))
		if err != nil {
			t.Fatal(err)
		}
		var m model
		for range 60 {
			try(t, rng, &c, &m)
		}
		if image := crashed(t, &c, drop, seed); !bytes.Equal(image, m.durable) {
			t.Errorf("seed %d: drop leaves something else than what is durable", seed)
		}
		if image := crashed(t, &c, keep, seed); !bytes.Equal(image, m.seen) {
			t.Errorf("seed %d: keep leaves something else than what is seen", seed)
		}
		image := crashed(t, &c, mix, seed)
		for at := 0; at < len(image); at++ { // each byte is an old one, a new one, or one that was cut off
			b := image[at]
			if b != 0 && (at >= len(m.durable) || b != m.durable[at]) && (at >= len(m.seen) || b != m.seen[at]) {
				t.Fatalf("seed %d: byte %d is %q", seed, at, b)
			}
		}
		c.close()
	}
}

// try does one thing to both.
func try(t *testing.T, rng *rand.Rand, c *content, m *model) {
	t.Helper()
	const most = 5 * pageSize
	offset, size := rng.Int64N(most), rng.Int64N(2*pageSize)
	switch rng.IntN(7) {
	case 0, 1, 2:
		b := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, int(size))
		if size == 0 {
			return
		}
		if err := c.write(b, offset); err != nil {
			t.Fatal(err)
		}
		m.seen = resized(m.seen, max(int(offset+size), len(m.seen)))
		copy(m.seen[offset:], b)
	case 3:
		c.truncate(offset)
		m.seen = resized(m.seen, int(offset))
	case 4:
		if err := c.zero(offset, size); err != nil {
			t.Fatal(err)
		}
		if int(offset) < len(m.seen) {
			clear(m.seen[offset:min(int(offset+size), len(m.seen))])
		}
	case 5:
		if err := c.sync(); err != nil {
			t.Fatal(err)
		}
		m.durable = bytes.Clone(m.seen)
	case 6:
		b := make([]byte, most)
		n, err := c.read(b, offset)
		if err != nil {
			t.Fatal(err)
		}
		if want := m.seen[min(int(offset), len(m.seen)):]; !bytes.Equal(b[:n], want[:min(len(want), most)]) {
			t.Fatal("reads something else than was written")
		}
	}
}

func resized(b []byte, size int) []byte {
	if size < len(b) {
		return bytes.Clone(b[:size])
	}
	return append(bytes.Clone(b), make([]byte, size-len(b))...)
}

// crashed is what a power loss leaves.
func crashed(t *testing.T, c *content, m mode, seed uint64) []byte {
	t.Helper()
	to, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = to.Close() }()
	from, err := c.backing()
	if err != nil {
		t.Fatal(err)
	}
	if err := copySparse(to, from); err != nil {
		t.Fatal(err)
	}
	if err := c.crash(to, m, rand.New(rand.NewPCG(seed, 0))); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(to.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBlocks compares the set of blocks with a map.
func TestBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var b blocks
	want := make(map[int64]bool)
	for range 20000 {
		offset, size := rng.Int64N(300*pageSize), rng.Int64N(50*pageSize)+1
		switch rng.IntN(4) {
		case 0:
			room := rng.Int64N(60)
			missing := b.missing(offset, size)
			took, bytes := b.take(offset, size, room)
			if took != min(missing, room) || (bytes == size) != (missing <= room) {
				t.Fatalf("took %d of %d missing with room for %d: %d of %d bytes", took, missing, room, bytes, size)
			}
			for n := offset / pageSize; bytes > 0 && n*pageSize < offset+bytes; n++ {
				want[n] = true
			}
		case 1:
			b.give(offset, size)
			for n := range want {
				if n*pageSize >= offset && (n+1)*pageSize <= offset+size {
					delete(want, n)
				}
			}
		case 2:
			if rng.IntN(20) == 0 {
				b.giveFrom(offset)
				for n := range want {
					if n*pageSize >= offset {
						delete(want, n)
					}
				}
			}
		}
		if b.count != int64(len(want)) {
			t.Fatalf("%d blocks, wanted %d", b.count, len(want))
		}
	}
}
