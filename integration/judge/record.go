package judge

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strconv"
)

// A record is one line of text without its LF:
//
//	J SOURCE NUMBER SUM FILLER
//
// SOURCE is the name of a source, NUMBER its decimal number from 1 on, SUM eight hex digits: the CRC32C of the seed,
// "J SOURCE NUMBER" and FILLER. The seed in it makes records of another run fail. FILLER may be empty.
const (
	prefix   = "J "
	sumWidth = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends the record, at least as long as its head needs and otherwise of exactly size bytes.
func appendRecord(dst []byte, salt uint32, source string, number uint64, size int, filler []byte) []byte {
	start := len(dst)
	dst = append(dst, prefix...)
	dst = append(dst, source...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, number, 10)
	sum := crc32.Update(salt, castagnoli, dst[start:])
	dst = append(dst, ' ')
	at := len(dst)
	dst = append(dst, "00000000 "...)
	from := len(dst)
	offset := int(number * 2654435761 % uint64(len(filler)))
	for len(dst)-start < size {
		take := min(size-(len(dst)-start), len(filler)-offset)
		dst = append(dst, filler[offset:offset+take]...)
		offset = 0
	}
	putSum(dst[at:], crc32.Update(sum, castagnoli, dst[from:]))
	return dst
}

// parseRecord takes a record apart. ok is false where it is not a record of this seed, bit for bit.
func parseRecord(record []byte, salt uint32) (source []byte, number uint64, ok bool) {
	if !bytes.HasPrefix(record, []byte(prefix)) {
		return nil, 0, false
	}
	rest := record[len(prefix):]
	space := bytes.IndexByte(rest, ' ')
	if space < 0 {
		return nil, 0, false
	}
	source, rest = rest[:space], rest[space+1:]
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		number = number*10 + uint64(rest[digits]-'0')
		digits++
	}
	head := len(prefix) + space + 1 + digits
	if digits == 0 || digits > 19 || len(record) < head+1+sumWidth+1 {
		return nil, 0, false
	}
	var want [sumWidth]byte
	putSum(want[:], crc32.Update(crc32.Update(salt, castagnoli, record[:head]), castagnoli, record[head+1+sumWidth+1:]))
	ok = record[head] == ' ' && record[head+1+sumWidth] == ' ' && string(want[:]) == string(record[head+1:head+1+sumWidth])
	return source, number, ok
}

func putSum(dst []byte, sum uint32) {
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], sum)
	hex.Encode(dst, raw[:])
}

// salt is the checksum of the seed, with which that of every record begins.
func salt(seed uint64) uint32 {
	return crc32.Checksum(binary.BigEndian.AppendUint64(nil, seed), castagnoli)
}

// text makes n bytes of log-like filler without LF, always the same for a seed.
func text(seed uint64, n int) []byte {
	words := []string{
		"GET /v2/servers/detail", "status: 200", "len: 1893", "time: 0.2477829", "level=info", "connection closed by",
		"10.11.10.1", "session opened for user root", "INFO dfs.DataNode$PacketResponder:", "terminating", "blk_",
		"authentication failure;", "rhost=", "retrying in", "ms", "\"upstream\"", "timed out", "accepted", "worker", "/var/log/app",
	}
	b := make([]byte, 0, n+64)
	for x := seed | 1; len(b) < n; {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = append(b, words[x%uint64(len(words))]...)
		if x>>32%3 == 0 {
			b = strconv.AppendUint(append(b, '='), x>>48, 10)
		}
		b = append(b, ' ')
	}
	return b[:n]
}
