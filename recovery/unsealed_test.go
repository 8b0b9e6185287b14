package recovery

import (
	"reflect"
	"testing"

	"logmule/queue/segment"
)

// TestTornInGivenUp: what had come into a segment behind its last record, and was never synced, may be in any state.
func TestTornInGivenUp(t *testing.T) {
	b := newBuilder(t)
	b.open()
	b.durable(10, 10)
	at := b.w.End()
	b.marker() // nothing was synced from here on
	b.full()
	b.close()
	b.flip(0, at+50)
	for range 3 {
		b.open()
		b.full(segment.Pair{Key: UnsealedKey(b.made[0]), Value: []byte("x")})
		b.durable(10)
		b.seal()
	}
	if r := check(t, b.fs); !r.Clean || r.TornTailBytes == 0 {
		t.Errorf("%d torn, damage %+v", r.TornTailBytes, r.Damage)
	}
}

// TestGivenUpIsNoDamage: that a segment was left without a trailer, because the disk refused it, stands in the log. Fsck believes that,
// and nothing more: what is wrong with its frames, or with the trailer of another one, is damage as ever.
func TestGivenUpIsNoDamage(t *testing.T) {
	for _, test := range []struct {
		name string
		told bool
		hurt func(b *builder)
		want []string
	}{
		{"told", true, func(b *builder) {}, nil},
		{"not told", false, func(b *builder) {}, []string{"0 trailer: would rebuild"}},
		{"frame", true, func(b *builder) { b.flip(0, b.of(15).offset+60) }, []string{"0 checksum: would quarantine 11-20"}},
		{"trailer of the next", true, func(b *builder) { b.zero(1, b.sizeOf(1)-4096, 4096) }, []string{"1 trailer: would rebuild"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBuilder(t)
			b.open()
			b.durable(10, 10)
			b.records(5) // these come again in the next segment
			b.close()
			b.next -= 5
			for range 3 {
				b.open()
				if b.full(); test.told {
					b.full(segment.Pair{Key: UnsealedKey(b.made[0]), Value: []byte("x")})
				}
				b.durable(10)
				b.seal()
			}
			test.hurt(b)
			r := check(t, b.fs)
			var got []string
			for _, d := range r.Damage {
				got = append(got, shown(b, d))
			}
			if !reflect.DeepEqual(got, test.want) || r.Clean != (len(test.want) == 0) {
				t.Errorf("clean %t, got %q, want %q", r.Clean, got, test.want)
			}
		})
	}
}
