package recovery

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// Survey is what is in a data directory, for stat.
type Survey struct {
	Queue         string            `json:"queue"`  // the queue's id
	Starts        uint64            `json:"starts"` // how often it has been opened
	Running       bool              `json:"running"`
	Segments      []SurveyedSegment `json:"segments"`
	Records       uint64            `json:"records"`
	Bytes         int64             `json:"bytes"`
	FirstSequence uint64            `json:"first_sequence"` // 0: no records
	LastSequence  uint64            `json:"last_sequence"`
	Outputs       []SurveyedOutput  `json:"outputs"`
	Gaps          []Gap             `json:"gaps"`         // sequences that are known to be lost
	LostRecords   uint64            `json:"lost_records"` // of all lines of the loss ledger but those about what one output gave up
	ShedRecords   uint64            `json:"shed_records"` // of lines with cause max_backlog
	Losses        int               `json:"losses"`       // lines
	ByCause       []CauseLosses     `json:"losses_by_cause"`
	Quarantine    int               `json:"quarantine_files"`
	Quarantined   int64             `json:"quarantine_bytes"` // that they take
	Notes         []string          `json:"notes"`
}

// SurveyedSegment is one segment file.
type SurveyedSegment struct {
	Name    string    `json:"name"`
	First   uint64    `json:"first"`
	Last    uint64    `json:"last"` // First-1: it holds none
	Records uint64    `json:"records"`
	Bytes   int64     `json:"bytes"`
	Sealed  bool      `json:"sealed"`
	Created time.Time `json:"created,omitzero"`
	MinTime time.Time `json:"min_time,omitzero"` // arrival of its records; zero where unknown
	MaxTime time.Time `json:"max_time,omitzero"`
}

// SurveyedOutput is an output as the log knows it: about a second old.
type SurveyedOutput struct {
	Name           string    `json:"name"`
	Position       uint64    `json:"position"` // its floor
	BacklogRecords uint64    `json:"backlog_records"`
	BacklogBytes   int64     `json:"backlog_bytes"`   // as stored
	Oldest         time.Time `json:"oldest,omitzero"` // arrival of the oldest record that is not done; zero: none
}

// Gap is a range of sequences that will never come.
type Gap struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// TakeSurvey looks at the data directory dir: at every trailer, and at the frames of the newest segments. It only
// reads, also beside a running daemon. Damage is not looked for; Check does that.
func TakeSurvey(fsys vfs.FS, dir string) (Survey, error) {
	s := surveyor{fsys: fsys}
	if err := s.take(dir); err != nil {
		return Survey{}, err
	}
	return s.Survey, nil
}

// SourcePositions are the positions of the sources whose key begins with prefix, by what follows it there, as the log of
// the data directory dir has them. It only reads, also beside a running daemon: then they are about a second old. A
// directory that no queue was ever opened in is an error.
func SourcePositions(fsys vfs.FS, dir, prefix string) (map[string][]byte, error) {
	if err := IsDataDir(fsys, dir); err != nil {
		return nil, err
	}
	id, _, _, _ := readIdentity(fsys, dir) // without one, that of the segments counts
	s := surveyor{fsys: fsys, sources: true}
	if err := s.read(dir, id); err != nil {
		return nil, err
	}
	_, others, _ := split(s.positions())
	positions := map[string][]byte{}
	for key, value := range others {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			positions[rest] = value
		}
	}
	return positions, nil
}

// surveyor is one survey under way.
type surveyor struct {
	fsys    vfs.FS
	sources bool // their positions are wanted too
	Survey
	parts []*part
}

func (s *surveyor) take(dir string) error {
	if err := IsDataDir(s.fsys, dir); err != nil {
		return err
	}
	id, starts, lost, err := readIdentity(s.fsys, dir)
	if err != nil {
		return err
	}
	var sums ledgerSums
	if err := sums.read(s.fsys, dir); err != nil {
		return err
	}
	s.Survey = Survey{
		Queue: id.String(), Starts: starts, Running: locked(s.fsys, dir), LostRecords: sums.records, ShedRecords: sums.shed, Losses: sums.lines, ByCause: sums.causes.standing(s.fsys, dir),
		Segments: []SurveyedSegment{}, Outputs: []SurveyedOutput{}, Gaps: []Gap{}, Notes: []string{},
	}
	for _, odd := range oddNames(s.fsys, dir) {
		s.Notes = append(s.Notes, odd.String())
	}
	if s.Quarantine, s.Quarantined, err = QuarantineRoom(s.fsys, dir); err != nil {
		s.Notes = append(s.Notes, err.Error())
	}
	if lost != nil {
		s.Queue = ""
		s.Notes = append(s.Notes, fmt.Sprintf("no identity (%v)", lost))
	}
	if err := s.read(dir, id); err != nil {
		return err
	}
	missing := sums.lost
	if back := sums.returned(s.parts); len(back) > 0 {
		outputs, _, _ := split(s.positions())
		s.Notes = append(s.Notes, tellReturned(dir, back, outputs))
		missing = nil
		for _, r := range sums.lost {
			for _, gap := range back.Without(r.First, r.Last) {
				missing = missing.Add(gap.First, gap.Last)
			}
		}
	}
	s.describe(missing)
	return s.outputs()
}

// read reads the segments from the newest on: frames only until the positions are complete, and of those without a
// trailer among the newest two.
func (s *surveyor) read(dir string, id segment.ID) error {
	found, _, notes, err := stock(s.fsys, dir, id, 0)
	if err != nil {
		return err
	}
	s.Notes = append(s.Notes, append(notes, excluded(found)...)...)
	found = slices.DeleteFunc(found, func(p *part) bool { return !p.normal() })
	var next *part
	complete := false
	for i, was := range slices.Backward(found) {
		p, f, err := openPart(s.fsys, was.listed)
		if err != nil {
			return err
		}
		newest := i >= len(found)-2
		switch {
		case !p.normal():
		case p.sealed && (complete || !newest && i < len(found)-8):
			p.believe(next)
		case newest || next == nil || !complete && i >= len(found)-8:
			err = p.look(f, next, false, unpaced, func() func(*segment.Part) {
				p.positions = newGatherer(!s.sources)
				return p.positions.take
			})
		default:
			p.last = p.limit(next) // not sealed and old: fsck has more to say
		}
		if f != nil {
			err = closing(f, err)
		}
		if err != nil {
			return err
		}
		if p.normal() {
			next = p
			complete = complete || p.positions != nil && p.positions.complete
			s.parts = append(s.parts, p)
		}
	}
	slices.Reverse(s.parts)
	return nil
}

func (s *surveyor) describe(lost checkpoint.Ranges) {
	for i, p := range s.parts {
		s.Segments = append(s.Segments, SurveyedSegment{
			Name: p.name.String(), First: p.header.First, Last: p.last, Records: p.records, Bytes: p.size, Sealed: p.sealed,
			Created: moment(p.header.Created), MinTime: moment(p.minTime), MaxTime: moment(p.maxTime),
		})
		s.Records += p.records
		s.Bytes += p.size
		if p.holdsRecords() {
			s.FirstSequence = cmp.Or(s.FirstSequence, p.header.First)
			s.LastSequence = p.last
		}
		if i > 0 {
			lost = lost.Add(s.parts[i-1].last+1, p.header.First-1)
		}
	}
	for _, r := range lost {
		s.Gaps = append(s.Gaps, Gap(r))
	}
}

// moment is a time of the format; zero where there is none.
func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// positions are those after all segments.
func (s *surveyor) positions() map[string][]byte {
	var gathered []*gatherer
	for _, p := range s.parts {
		gathered = append(gathered, p.positions)
	}
	return merge(gathered)
}

func (s *surveyor) outputs() error {
	outputs, _, bad := split(s.positions())
	for _, name := range bad {
		s.Notes = append(s.Notes, fmt.Sprintf("the position of output %s in the log cannot be read", name))
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		at := outputs[name]
		o := SurveyedOutput{Name: name, Position: at.Floor, BacklogRecords: backlog(at, s.FirstSequence, s.LastSequence)}
		if o.BacklogRecords > 0 {
			var err error
			if o.BacklogBytes, o.Oldest, err = s.behind(at); err != nil {
				return err
			}
		}
		s.Outputs = append(s.Outputs, o)
	}
	return nil
}

// behind is how many bytes of frames lie from a position on, and when the first of them arrived.
func (s *surveyor) behind(at checkpoint.Position) (size int64, oldest time.Time, err error) {
	for _, p := range slices.Backward(s.parts) {
		if p.last < at.Floor {
			break
		}
		if !p.holdsRecords() {
			continue
		}
		start := int64(segment.HeaderSize)
		oldest = moment(p.minTime)
		if at.Floor > p.header.First {
			var when int64
			if start, when, err = s.locate(p, at.Floor); err != nil {
				return 0, oldest, err
			}
			oldest = moment(when)
		}
		size += max(p.end-start, 0)
	}
	return size, oldest, nil
}

// locate finds the first data frame of a segment that reaches sequence: where it stands and when it arrived.
func (s *surveyor) locate(p *part, sequence uint64) (offset, when int64, err error) {
	f, err := s.fsys.Open(p.path)
	if err != nil {
		return p.end, 0, nil // it went meanwhile
	}
	defer f.Close()
	start := int64(segment.HeaderSize)
	if p.sealed {
		if x, err := segment.ReadIndex(f, p.trailer); err == nil {
			start = x.Seek(sequence)
		}
	}
	sc := segment.NewScanner(f, p.header.Salt, start, p.end)
	for {
		part, err := sc.Next()
		if err == io.EOF {
			return p.end, 0, nil
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read segment %s: %w", p.path, err)
		}
		if part.Header.Type == segment.Data && part.Header.Last() >= sequence {
			return part.Offset, part.Header.Time, nil
		}
	}
}
