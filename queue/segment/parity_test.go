package segment

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// heal makes good, in file, what its redundancy can. It returns the stripes that stay bad.
func heal(t *testing.T, file []byte) []int {
	t.Helper()
	f := bytes.NewReader(file)
	h, err := Diagnose(f, int64(len(file)), testHeader().Name())
	if err != nil {
		t.Fatal(err)
	}
	if h.Size != int64(len(file)) {
		t.Fatalf("healed to %d bytes of %d", h.Size, len(file))
	}
	copy(file, healedBytes(t, h, f))
	var bad []int
	for _, s := range h.Bad {
		for at := s.Offset; at < s.End(); at += int64(h.Trailer.Stripe) {
			bad = append(bad, int(at/int64(h.Trailer.Stripe)))
		}
	}
	return bad
}

// sealedFile is a full sealed segment, its stripe and the end of its frames.
func sealedFile(t *testing.T, size uint64, recordSize int) (file []byte, stripe, dataEnd int64) {
	t.Helper()
	h := testHeader()
	h.Size = size
	w := newWriter(t, h)
	for first := h.First; w.Room() > int64(recordSize)+100; first++ {
		fh, b := dataFrame(first, 1, None, blob(first, recordSize))
		writeFrame(t, w, &fh, b)
		if first > h.First && w.Room() > 1<<24-1<<20 {
			t.Fatal("room does not shrink")
		}
	}
	tr, err := w.Seal(0)
	if err != nil {
		t.Fatal(err)
	}
	return content(t, w), int64(tr.Stripe), tr.DataEnd
}

// A burst of 32 aligned stripes, or of 31 and the edges around them, heals bit for bit, wherever it lies.
func TestParityHealsBursts(t *testing.T) {
	for _, size := range []uint64{64 << 10, 1<<20 + 12_344} {
		file, stripe, dataEnd := sealedFile(t, size, 2000)
		if burst := Groups * stripe; burst < int64(size)/32*99/100 {
			t.Errorf("size %d: the largest burst is %d bytes", size, burst)
		}
		type burst struct{ from, to int64 }
		bursts := []burst{
			{0, Groups * stripe},                                // the header and the first frames
			{5 * stripe, (5 + Groups) * stripe},                 // 32 aligned stripes
			{5*stripe + 1, (5+Groups-1)*stripe + 1},             // 31 stripes, not aligned
			{5*stripe + stripe/2, (5+Groups)*stripe - stripe/2}, // 30 whole ones and both edges
			{dataEnd - (Groups-1)*stripe, dataEnd},              // up to the last, shorter stripe
			{dataEnd - 1, dataEnd},
			{0, 1},
		}
		r := rand.New(rand.NewPCG(1, size))
		for range 40 {
			from := r.Int64N(dataEnd - (Groups-1)*stripe - 1)
			bursts = append(bursts, burst{from, from + (Groups-1)*stripe + 1})
		}
		for _, b := range bursts {
			for what, damage := range map[string]func(b []byte){
				"zeroed": func(b []byte) { clear(b) },
				"noise":  func(b []byte) { copy(b, noise(9, len(b))) },
			} {
				damaged := bytes.Clone(file)
				damage(damaged[b.from:b.to])
				if left := heal(t, damaged); len(left) != 0 || !bytes.Equal(damaged, file) {
					t.Errorf("size %d, %s from %d to %d: stripes %v stay bad", size, what, b.from, b.to, left)
				}
			}
		}
	}
}

// More than the parity can heal is seen for what it is: two bad stripes of one group, no other.
func TestParityBeyondItsReach(t *testing.T) {
	file, stripe, _ := sealedFile(t, 64<<10, 2000)
	damaged := bytes.Clone(file)
	clear(damaged[100*stripe : (100+Groups+1)*stripe]) // 33 stripes
	if left := heal(t, damaged); !slices.Equal(left, []int{100, 100 + Groups}) {
		t.Errorf("stripes %v stay bad, want 100 and 132", left)
	}
}

func TestParityOfASmallSegment(t *testing.T) {
	for _, n := range []int{1, 100, 3000} {
		h := testHeader()
		h.Size = 64 << 20
		w := newWriter(t, h)
		fh, b := dataFrame(h.First, 1, None, blob(1, n))
		writeFrame(t, w, &fh, b)
		if _, err := w.Seal(0); err != nil {
			t.Fatal(err)
		}
		file := content(t, w)
		damaged := bytes.Clone(file)
		clear(damaged[:w.End()])
		if left := heal(t, damaged); len(left) != 0 || !bytes.Equal(damaged, file) {
			t.Errorf("record of %d bytes: %v stay bad", n, left)
		}
	}
}

// Every damaged byte of header and frames shows in its stripe, every damaged byte of the parity in its group.
func TestBadPieces(t *testing.T) {
	file, stripe, dataEnd := sealedFile(t, 64<<10, 2000)
	f := bytes.NewReader(file)
	tr, err := ReadTrailer(f, int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	x, err := ReadIndex(f, tr)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < dataEnd; at += 131 {
		file[at] ^= 0x10
		if bad, err := badStripes(f, tr, x); err != nil || !slices.Equal(bad, []int{int(at / stripe)}) {
			t.Errorf("byte %d: stripes %v, %v", at, bad, err)
		}
		file[at] ^= 0x10
	}
	for at := tr.Parity; at < tr.IndexB; at += 31 {
		file[at] ^= 0x10
		if bad, err := badParity(f, tr, x); err != nil || !slices.Equal(bad, []int{int((at - tr.Parity) / stripe)}) {
			t.Errorf("byte %d: groups %v, %v", at, bad, err)
		}
		file[at] ^= 0x10
	}
	// A file cut short: what is not there is bad.
	cut := bytes.NewReader(file[:dataEnd-3*stripe])
	if bad, err := badStripes(cut, tr, x); err != nil || len(bad) < 3 || len(bad) > 4 || bad[len(bad)-1] != len(x.Stripes)-1 {
		t.Errorf("cut: stripes %v of %d, %v", bad, len(x.Stripes), err)
	}
	x.Stripes = x.Stripes[1:]
	if _, err := badStripes(f, tr, x); err == nil {
		t.Error("the index of another segment was accepted")
	}
}
