package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
)

// The database has two buckets: positions, one under each key, and sum, with a single value that covers them all.
var (
	positionsBucket = []byte("positions")
	sumBucket       = []byte("sum")
	sumKey          = []byte("all")
)

// sealValue binds bytes to their key: a damaged key must not hand a position to another output, which would then skip
// records. What follows the bytes is CRC32C of key and bytes u32.
func sealValue(key string, value []byte) []byte {
	return binary.LittleEndian.AppendUint32(value, valueSum(key, value))
}

func valueSum(key string, value []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, value)
}

// openValue is the inverse of sealValue.
func openValue(key string, sealed []byte) ([]byte, error) {
	if len(sealed) < sumSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrDamaged, len(sealed))
	}
	value, sum := sealed[:len(sealed)-sumSize], binary.LittleEndian.Uint32(sealed[len(sealed)-sumSize:])
	if got := valueSum(key, value); got != sum {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrDamaged, got, sum)
	}
	return value, nil
}

// sumOf is the value that covers all sealed values: version u8 = 1 | transaction that wrote it u64 | number of values u32 |
// CRC32C of all keys and values, each after its length u32, in the order of the keys u32. The transaction ties them to
// the meta: without it a page that was never written, with its older self in its place, would pass.
func sumOf(sealed map[string][]byte, transaction uint64) []byte {
	var sum uint32
	for _, key := range slices.Sorted(maps.Keys(sealed)) {
		for _, b := range [][]byte{[]byte(key), sealed[key]} {
			sum = crc32.Update(sum, castagnoli, binary.LittleEndian.AppendUint32(nil, uint32(len(b))))
			sum = crc32.Update(sum, castagnoli, b)
		}
	}
	b := binary.LittleEndian.AppendUint64([]byte{1}, transaction)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(sealed)))
	return binary.LittleEndian.AppendUint32(b, sum)
}

// seal encodes all positions of a table.
func (t table) seal() (map[string][]byte, error) {
	sealed := make(map[string][]byte, len(t))
	for key, p := range t {
		b, err := p.Encode()
		if err != nil {
			return nil, fmt.Errorf("position of %s: %w", key, err)
		}
		sealed[key] = sealValue(key, b)
	}
	return sealed, nil
}

// readTable is the positions of a database file that can be trusted, and everything that is wrong with it.
func readTable(file []byte) (table, []string) {
	p := readPages(file)
	t := make(table)
	sealed := p.buckets[string(positionsBucket)]
	for _, key := range slices.Sorted(maps.Keys(sealed)) {
		b, err := openValue(key, sealed[key])
		if err == nil {
			t[key], err = Decode(b)
		}
		if err != nil {
			delete(t, key)
			p.find("position of %q: %v", key, err)
		}
	}
	// The sum can only tell more than the rest did where the rest had nothing to tell.
	if len(p.findings) == 0 && !bytes.Equal(p.buckets[string(sumBucket)][string(sumKey)], sumOf(sealed, p.transaction)) {
		p.find("the %d positions are not those that were saved together", len(sealed))
	}
	return t, p.findings
}
