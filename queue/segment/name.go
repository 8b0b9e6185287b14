package segment

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// ID is the identity of a queue, random, made once.
type ID [16]byte

// NewID makes an identity.
func NewID() ID {
	var id ID
	rand.Read(id[:])
	return id
}

// String is the id in the form of a UUID: lower-case hex in groups of 8-4-4-4-12.
func (id ID) String() string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ParseID reads what String wrote, and nothing else.
func ParseID(s string) (ID, error) {
	var id ID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(id) {
		return ID{}, fmt.Errorf("parse queue id %q: want 32 hex digits in groups of 8-4-4-4-12", s)
	}
	copy(id[:], b)
	if id.String() != s {
		return ID{}, fmt.Errorf("parse queue id %q: want lower-case groups of 8-4-4-4-12 digits", s)
	}
	return id, nil
}

// Epoch names one run of a process on a queue. The random part keeps two lives of a restored backup apart.
type Epoch struct {
	Starts uint64 // how often the queue has been opened, from 1
	Random uint64
}

// NewEpoch makes the epoch of the start with this number.
func NewEpoch(starts uint64) Epoch { return Epoch{Starts: starts, Random: random()} }

// NewSalt makes the salt of a new segment: random, never zero.
func NewSalt() uint64 { return random() }

// random is a random number other than zero, which stands for "none" in a Link.
func random() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:])
		if n := le.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

// Link names the segment before: its last sequence and its salt. The zero Link says that there is none.
type Link struct{ Last, Salt uint64 }

// Name identifies a segment in its directory: the first sequence it may hold, and its salt. Names sort by sequence.
type Name struct{ First, Salt uint64 }

const (
	namePattern = "%020d-%016x.seg"
	nameLength  = 20 + 1 + 16 + len(".seg")
)

// String is the file name.
func (n Name) String() string { return fmt.Sprintf(namePattern, n.First, n.Salt) }

// ParseName reads a file name, without its directory, and says whether it is exactly what String writes.
func ParseName(s string) (Name, bool) {
	if len(s) != nameLength {
		return Name{}, false
	}
	first, err1 := strconv.ParseUint(s[:20], 10, 64)
	salt, err2 := strconv.ParseUint(s[21:37], 16, 64)
	n := Name{First: first, Salt: salt}
	if err1 != nil || err2 != nil || n.String() != s {
		return Name{}, false
	}
	return n, true
}
