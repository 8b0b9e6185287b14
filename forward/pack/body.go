package pack

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrBody is what Each returns, wrapped, for a body that is not of its form: a lines body whose last record lacks its LF,
// or a records body with a length that does not fit.
var ErrBody = errors.New("the body of the pack is malformed")

// CountLines returns the number of records in a lines body.
func CountLines(body []byte) int {
	return bytes.Count(body, newline)
}

var newline = []byte{'\n'}

// AppendOwn adds one record to a records body: own is its protobuf fields.
func AppendOwn(body, own []byte) []byte {
	return protowire.AppendBytes(body, own)
}

// Each calls fn for every record of a body, in order: its payload without the LF for Lines, its protobuf fields for
// Records. own is a part of body. An error of fn ends the walk and is returned as it is; a malformed body gives an error
// that wraps ErrBody, after the records before the fault.
func Each(form Form, body []byte, fn func(own []byte) error) error {
	for at := 0; at < len(body); {
		own, size := next(form, body[at:])
		if size == 0 {
			return fmt.Errorf("read %s at byte %d of %d: %w", form, at, len(body), ErrBody)
		}
		if err := fn(own); err != nil {
			return err
		}
		at += size
	}
	return nil
}

// next returns the first record of a body that is not empty and the bytes it takes there, 0 where it is malformed.
func next(form Form, body []byte) (own []byte, size int) {
	if form == Records {
		own, size = protowire.ConsumeBytes(body)
		return own, max(size, 0)
	}
	end := bytes.IndexByte(body, '\n')
	return body[:max(end, 0)], end + 1
}

// Split cuts a body in two at a record boundary: head is as many whole records as fit in limit bytes, but at least one,
// count is how many they are, and rest is what follows. Both are parts of body, nothing is copied. A malformed body is
// cut before the fault; where the fault comes first, head is all of it and count 0, so that a loop over rest ends.
func Split(form Form, body []byte, limit int) (head []byte, count int, rest []byte) {
	if form == Records {
		return splitRecords(body, limit)
	}
	end := bytes.LastIndexByte(body[:max(0, min(len(body), limit))], '\n')
	if end < 0 {
		end = bytes.IndexByte(body, '\n')
	}
	if end < 0 {
		return body, 0, nil
	}
	head = body[:end+1]
	return head, CountLines(head), body[end+1:]
}

func splitRecords(body []byte, limit int) (head []byte, count int, rest []byte) {
	end := 0
	for end < len(body) {
		_, size := next(Records, body[end:])
		if size == 0 || count > 0 && end+size > limit {
			break
		}
		end += size
		count++
	}
	if count == 0 {
		return body, 0, nil
	}
	return body[:end], count, body[end:]
}
