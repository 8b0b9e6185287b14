package forward

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"logmule/forward/config"
)

// LetterStatus is the state of the dead-letter queue. Where there is none yet it is empty but for Dir and MaxBytes.
type LetterStatus struct {
	Dir      string      `json:"dir"`
	Records  uint64      `json:"records"`  // letters in it
	Replayed uint64      `json:"replayed"` // of these, those that were put back; they go with their segments
	Segments int         `json:"segments"`
	Bytes    int64       `json:"bytes"`     // of all segments
	MaxBytes int64       `json:"max_bytes"` // max_size
	Full     *FullStatus `json:"full,omitempty"`
	Fault    string      `json:"fault,omitempty"` // why the disk takes nothing
	Lost     uint64      `json:"lost_records"`    // letters lost since the start, by drop_oldest or damage
}

func (d *deadLetters) status(cfg *config.Config) LetterStatus {
	s := LetterStatus{Dir: filepath.Join(cfg.DataDir, DeadLetterDir), MaxBytes: int64(cfg.Queue.MaxSize)}
	q := d.queue.Load()
	if q == nil {
		return s
	}
	now := q.Status()
	s.Records, s.Segments, s.Bytes, s.MaxBytes = now.Retained, now.Segments, now.Bytes, now.MaxSize
	s.Full, s.Fault, s.Lost = fullStatus(now), now.Fault, now.DroppedOldest+now.Damaged
	for _, o := range now.Outputs {
		if o.Name == ReplayName {
			s.Replayed = s.Records - min(o.BacklogRecords, s.Records)
		}
	}
	return s
}

func (s *LetterStatus) write(b *strings.Builder) {
	if s.Records == 0 && s.Full == nil && s.Fault == "" && s.Lost == 0 {
		return
	}
	fmt.Fprintf(b, "dead letters %s: %d records, %d replayed, %v of %v\n", s.Dir, s.Records, s.Replayed, size(s.Bytes), size(s.MaxBytes))
	if s.Full != nil {
		fmt.Fprintf(b, "  full since %s (when_full = %q): %s\n", s.Full.Since.UTC().Format(time.DateTime), s.Full.WhenFull, s.Full.Reason)
	}
	if s.Fault != "" {
		fmt.Fprintf(b, "  the disk takes none: %s\n", s.Fault)
	}
	if s.Lost > 0 {
		fmt.Fprintf(b, "  since the start: %d lost, see losses.jsonl there\n", s.Lost)
	}
}
