package hekaqueue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"logmule/queue/vfs"
)

// Checkpoint is what checkpoint.txt says, and what that is worth.
type Checkpoint struct {
	There    bool     // the file
	Text     string   // what is in it
	Believed bool     // then what lies before Position is delivered; otherwise nothing counts as delivered
	Why      string   // it is not believed
	Position Position // of the next record to deliver
}

// checkpointLimit is what Heka reads of checkpoint.txt.
const checkpointLimit = 64

// findCheckpoint reads checkpoint.txt, and scans the file that it names up to there: it is believed only if a record begins
// or ends where it says.
func (q *Queue) findCheckpoint(ctx context.Context) error {
	c := &q.Checkpoint
	content, err := vfs.ReadFile(q.fsys, filepath.Join(q.Path, checkpointFile), checkpointLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Why = "it is not there"
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read checkpoint of Heka queue: %w", err)
	}
	c.There = true
	if err != nil {
		c.Why = fmt.Sprintf("it cannot be read: %v", err)
		return nil
	}
	c.Text = string(content)
	number, offset, why := parseCheckpoint(c.Text)
	if why != "" {
		c.Why = why
		return nil
	}
	at := slices.IndexFunc(q.Files, func(f File) bool { return f.Name == number+".log" })
	if at < 0 {
		c.Why = fmt.Sprintf("there is no %s.log", number)
		return nil
	}
	c.Position = Position{File: q.Files[at].Name, Offset: offset}
	switch size := q.Files[at].Size; {
	case offset > size:
		c.Why = fmt.Sprintf("%s ends at %d", c.Position.File, size)
	case offset == 0 || offset == size:
		c.Believed = true
	default:
		c.Believed, err = q.isBoundary(ctx, q.Files[at], offset)
		if err == nil && !c.Believed {
			c.Why = fmt.Sprintf("no record begins at %d of %s", offset, c.Position.File)
		}
	}
	return err
}

// parseCheckpoint reads "NUMBER OFFSET", or says why it is not that. Heka writes no zero in front of a number: where one
// stands, a shorter number has overwritten a part of a longer one.
func parseCheckpoint(text string) (number string, offset int64, why string) {
	text = strings.Trim(text, " \t\r\n\x00")
	number, rest, ok := strings.Cut(text, " ")
	if text == "" {
		return "", 0, "it is empty"
	}
	offset, err := strconv.ParseInt(rest, 10, 64)
	if !ok || err != nil || !plainNumber(number) || !plainNumber(rest) {
		return "", 0, "it is not two numbers as Heka writes them"
	}
	return number, offset, ""
}

func plainNumber(s string) bool { return decimal(s) && (s == "0" || s[0] != '0') }

// isBoundary tells whether a record of f begins or ends at offset.
func (q *Queue) isBoundary(ctx context.Context, f File, offset int64) (yes bool, err error) {
	s := scanner{fsys: q.fsys}
	if s.plain, err = s.probe(ctx, q.path(f), f); err != nil {
		return false, unopened(ctx, err)
	}
	s.found = func(r *Record) error {
		yes = yes || r.Offset == offset || r.End == offset
		if r.End > offset {
			return errEnough
		}
		return nil
	}
	_, _, err = s.file(ctx, q.path(f), f)
	return yes, unopened(ctx, err)
}

// unopened leaves of the errors of a scan that of a context: a file that cannot be opened is told of when its turn comes.
func unopened(ctx context.Context, _ error) error { return ctx.Err() }
