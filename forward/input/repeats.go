package input

import (
	"context"
	"crypto/sha256"
	"hash/maphash"
	"net/http"
	"sync"
)

const (
	// repeatsKept is how many requests with an Idempotency-Key are remembered, the last ones, in about 120 bytes each: 8 MiB in all.
	repeatsKept = 64 << 10
	// longestKey is the longest Idempotency-Key that is taken, in bytes.
	longestKey = 255
)

// repeatID stands for an Idempotency-Key and who sent it. The zero repeatID stands for none.
type repeatID [16]byte

func newRepeatID(who, key string) repeatID {
	sum := sha256.Sum256([]byte(who + "\x00" + key))
	return repeatID(sum[:])
}

// Repeats remembers the requests of an input that were stored under an Idempotency-Key, so that each is stored once as
// long as the process lives. Any number of goroutines may use it.
type Repeats struct {
	seed maphash.Seed // for bodies
	kept int          // this many are remembered

	mu struct {
		sync.Mutex                            // guards:
		known      map[repeatID]remembered    // what was accepted
		pending    map[repeatID]chan struct{} // what is being stored; closed when that is decided
		order      []repeatID                 // those known, a ring once it is full
		oldest     int                        // in order
		log        interface {                // of all receipts
			WaitDurable(ctx context.Context, sequence uint64) error
		}
	}
}

// remembered is a request that was accepted. It holds no pointer: there are many of them.
type remembered struct {
	body     uint64 // its hash
	sequence uint64 // of the receipt
	records  int
}

// NewRepeats returns one that remembers nothing yet.
func NewRepeats() *Repeats {
	r := &Repeats{seed: maphash.MakeSeed(), kept: repeatsKept}
	r.mu.known, r.mu.pending = make(map[repeatID]remembered), make(map[repeatID]chan struct{})
	return r
}

// begin returns what is known of an id, or leaves the storing to the caller, who has to call end then. It waits while
// another one is at that.
func (r *Repeats) begin(ctx context.Context, id repeatID) (was remembered, known bool, err error) {
	for {
		r.mu.Lock()
		was, known = r.mu.known[id]
		decided, busy := r.mu.pending[id]
		if !known && !busy {
			r.mu.pending[id] = make(chan struct{})
		}
		r.mu.Unlock()
		if known || !busy {
			return was, known, nil
		}
		select {
		case <-decided:
		case <-ctx.Done():
			return remembered{}, false, ctx.Err()
		}
	}
}

// end says what became of the storing: out is nil where nothing was stored, or where nobody knows.
func (r *Repeats) end(id repeatID, body uint64, out *outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.mu.pending[id])
	delete(r.mu.pending, id)
	if out == nil {
		return
	}
	if out.receipt.Log != nil {
		r.mu.log = out.receipt.Log
	}
	r.mu.known[id] = remembered{body: body, sequence: out.receipt.Sequence, records: out.records}
	if len(r.mu.order) < r.kept {
		r.mu.order = append(r.mu.order, id)
		return
	}
	delete(r.mu.known, r.mu.order[r.mu.oldest])
	r.mu.order[r.mu.oldest] = id
	r.mu.oldest = (r.mu.oldest + 1) % r.kept
}

// forget makes an id as if it had never been stored.
func (r *Repeats) forget(id repeatID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.mu.known, id) // its place in order goes when its turn comes
}

// receipt is that of what was remembered.
func (r *Repeats) receipt(was remembered) Receipt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Receipt{Sequence: was.sequence, Log: r.mu.log}
}

// once stores the body unless a request of the same name has stored it.
func (q *request) once(body []byte) (outcome, *refusal) {
	known := q.in.env.Repeats
	hash := maphash.Bytes(known.seed, body)
	ctx, cancel := context.WithTimeout(q.running, roomAfter)
	defer cancel()
	was, repeated, err := known.begin(ctx, q.id)
	switch {
	case err != nil:
		return outcome{}, &refusal{http.StatusServiceUnavailable, "a request with the same Idempotency-Key is being stored"}
	case repeated && was.body != hash:
		return outcome{}, &refusal{http.StatusUnprocessableEntity,
			"the Idempotency-Key was used before, for another body; send each body under a key of its own"}
	case repeated:
		q.in.env.Counters.RepeatedRequests.Add(1)
		return outcome{records: was.records, receipt: known.receipt(was), repeated: true}, nil
	}
	var accepted *outcome
	defer func() { known.end(q.id, hash, accepted) }() // after a panic too: whether it was stored is open then
	out, no := q.store(body)
	if no == nil {
		accepted = &out
	}
	return out, no
}
