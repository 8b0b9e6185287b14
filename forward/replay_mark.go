package forward

import (
	"fmt"
	"strconv"
	"strings"

	"logmule/queue/segment"
)

// replayMark names a dead letter for ever. It is the source position of the record that it becomes again.
type replayMark struct {
	queue    string // id of the dead-letter queue
	stream   uint32 // raised where an operator rewinds the replay
	epoch    segment.Epoch
	sequence uint64
}

// String writes "queue/stream/starts.random/sequence".
func (m replayMark) String() string {
	return fmt.Sprintf("%s/%d/%d.%016x/%d", m.queue, m.stream, m.epoch.Starts, m.epoch.Random, m.sequence)
}

// parseReplayMark is the inverse of String.
func parseReplayMark(text string) (m replayMark, err error) {
	parts := strings.Split(text, "/")
	if len(parts) == 4 {
		m.queue = parts[0]
		starts, random, _ := strings.Cut(parts[2], ".")
		var stream uint64
		var errs [4]error
		stream, errs[0] = strconv.ParseUint(parts[1], 10, 32)
		m.epoch.Starts, errs[1] = strconv.ParseUint(starts, 10, 64)
		m.epoch.Random, errs[2] = strconv.ParseUint(random, 16, 64)
		m.sequence, errs[3] = strconv.ParseUint(parts[3], 10, 64)
		m.stream = uint32(stream)
		if errs == [4]error{} && m.String() == text {
			return m, nil
		}
	}
	return replayMark{}, fmt.Errorf("%.200q is no place in a dead-letter queue", text)
}

// isUpTo tells whether m is put back where the last one put back is reached. Of a number that was given again, after a
// backup was restored, it is not: its epoch is another one.
func (m replayMark) isUpTo(reached replayMark) bool {
	return m.queue == reached.queue && m.stream <= reached.stream && m.sequence <= reached.sequence &&
		(m.epoch == reached.epoch || m.epoch.Starts < reached.epoch.Starts)
}
