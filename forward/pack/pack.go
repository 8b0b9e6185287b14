// Package pack holds the unit of work of the message leg: a pack, records of one source with the attributes that they
// share stored once, and the codec of the records in it.
//
// A record is a Heka protobuf message (docs/format.md). A body holds records in one of two forms:
//
//	lines     payload LF payload LF ...              attributes are all shared, the body leaves on a newline output as it is
//	records   length message length message ...      uvarint length; message: protobuf fields that are added to the shared ones
//
// Protobuf messages concatenate: the encoded shared attributes followed by a record's own fields are that record's
// message, and where both hold a single-valued field the record's own wins.
//
// The functions of this package may be called from several goroutines; a Pack, a Record and an Attributes have one
// owner at a time.
package pack

import "sync"

// Form is how a body stores its records. The numbers are those of the segment format and never change.
type Form uint8

// The two forms.
const (
	Lines   Form = 1 // payloads, each followed by LF
	Records Form = 2 // protobuf messages, each preceded by its length as a uvarint
)

// String names the form as the documentation does.
func (f Form) String() string {
	switch f {
	case Lines:
		return "lines"
	case Records:
		return "records"
	default:
		return "unknown"
	}
}

// Pack is a batch of records of one source. It has one owner at a time, who gets it with Get and gives it back with
// Release. Nothing in it may be kept after that.
type Pack struct {
	Source   string     // key of the source position, empty where the source has none
	Position []byte     // where in its origin the source stands after this pack; opaque
	Shared   Attributes // what every record of the pack has in common
	Form     Form       // Lines or Records; zero counts as Lines
	Body     []byte     // the records
	Count    int        // how many there are in Body
	Kept     bool       // the source has them until they are stored: where when_full drops the newest, these wait instead
	Passing  bool       // the source neither waits nor sends again: memory takes these also while the disk refuses data
}

// keepBody is the largest capacity of a Body, in bytes, that goes back to the pool: one huge record must not hold its
// memory for ever.
const keepBody = 1 << 20

var pool = sync.Pool{New: func() any { return new(Pack) }}

// Get returns an empty pack, whose Body may have capacity from an earlier use.
func Get() *Pack {
	return pool.Get().(*Pack)
}

// Release gives the pack back. The owner calls it once, and touches neither the pack nor its Body afterwards.
func (p *Pack) Release() {
	body := p.Body[:0]
	if cap(body) > keepBody {
		body = nil
	}
	*p = Pack{Body: body}
	pool.Put(p)
}
