package segment

import (
	"bytes"
	"testing"
)

// TestRemains: of frames whose body is damaged header and table are found, of one whose table is damaged the header, of one
// whose header is damaged nothing.
func TestRemains(t *testing.T) {
	m := newImage()
	for _, body := range []string{"first", "second", "third", "fourth"} {
		m.add([]byte(body))
	}
	at := m.offsets
	m.b[at[1]-1] ^= 1                  // the end of the first
	m.b[at[1]+FrameHeaderSize] ^= 0xff // the table of the second
	m.b[at[2]+1] ^= 1                  // the header of the third
	bad := Span{Offset: at[0], Size: at[3] - at[0]}
	var got []uint64
	var tables []bool
	Remains(bytes.NewReader(m.b), imageSalt, bad, func(h FrameHeader, meta []byte) {
		got, tables = append(got, h.First), append(tables, meta != nil)
	})
	if len(got) != 2 || got[0] != 1 || got[1] != 2 || !tables[0] || tables[1] {
		t.Errorf("found %v with tables %v", got, tables)
	}
}
