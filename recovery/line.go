package recovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

// The identity and the loss ledger are text, one JSON object a line, so that an operator can read them with what is at
// hand. The last member of each object is the CRC32C of the line before it:
//
//	{"id":"…","starts":7,"format":1,"crc":"9f0c2a11"}
//	                               ^ the checksum covers everything up to here
const crcMember = `,"crc":"`

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errLine    = errors.New("line is torn or altered")
)

// sealLine is the line of v, a struct that has members, with its checksum and its line feed.
func sealLine(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode line: %w", err)
	}
	line = line[:len(line)-1] // the closing brace
	sum := crc32.Checksum(line, castagnoli)
	line = append(line, crcMember...)
	return fmt.Appendf(line, "%08x\"}\n", sum), nil
}

// openLine reads a line that sealLine made, without its line feed, into v.
func openLine(line []byte, v any) error {
	at := len(line) - len(crcMember) - len(`00000000"}`)
	if at < 0 || !bytes.HasPrefix(line[at:], []byte(crcMember)) || !bytes.HasSuffix(line, []byte(`"}`)) {
		return errLine
	}
	sum, err := strconv.ParseUint(string(line[at+len(crcMember):len(line)-2]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(line[:at], castagnoli) {
		return errLine
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("%w: %w", errLine, err)
	}
	return nil
}
