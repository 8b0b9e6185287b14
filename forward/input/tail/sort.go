package tail

import (
	"errors"
	"io/fs"
	"slices"
)

// sorted are the files of one group by content.
type sorted struct {
	of      map[*sight]*sight // the youngest file that holds the content of this one
	errs    map[*sight]error  // why that is not known
	unsure  bool              // perhaps the live file was cut
	threats bool              // perhaps it will be at any moment
}

// sort finds out which files of a group hold the same content, as copies do that were made before a file was cut. It goes
// from the youngest to the oldest: one that was copied several times is the same as long as nothing shows that it was cut.
func (c *claims) sort(group string) *sorted {
	if was := c.sorts[group]; was != nil {
		return was
	}
	all := &sorted{of: map[*sight]*sight{}, errs: map[*sight]error{}}
	c.sorts[group] = all
	var younger *sight
	for _, s := range slices.Backward(c.v.groups[group]) {
		if s.size == 0 {
			continue
		}
		if all.of[s] = s; younger == nil || s.taken != nil || s.live() || !c.cuts(s) {
			younger = s
			continue
		}
		from, err := c.packed(group, s)
		if from != nil {
			all.of[s] = from
			continue
		}
		var k clues
		if err == nil {
			k, err = c.compare(s, younger)
		}
		switch {
		case errors.Is(err, fs.ErrPermission): // one that may not be read holds nothing up
			younger = s
			continue
		case err != nil:
			all.errs[s] = err
			continue
		}
		all.threats = all.threats || k.threatens()
		switch k.judge() {
		case unsure:
			all.unsure = true
		case within:
			all.of[s] = younger
			c.parts[group] = append(c.parts[group], pair{s, younger})
		default:
			younger = s
		}
	}
	return all
}

// packed is the rotated file from which s is being compressed, or was; nil: it is not.
func (c *claims) packed(group string, s *sight) (*sight, error) {
	if !s.gzip {
		return nil, nil
	}
	for _, from := range c.v.groups[group] {
		if from.gzip || from.live() || from.size == 0 || unlikeTimes(s, from) {
			continue
		}
		if same, err := copyOf(s, from); err != nil {
			return nil, err
		} else if same {
			return from, nil
		}
	}
	return nil, nil
}

// last is the file that holds most of the content at p, of which s holds some: that of several copies which was made last
// before the file was cut.
func (c *claims) last(group string, s *sight, upto int64, p *position) (*sight, int64, error) {
	of := c.sort(group).of[s]
	if of == nil || of == s || of.live() || of.taken != nil {
		return s, upto, nil
	}
	yes, end, err := of.holds(p)
	if yes && err == nil {
		return of, end, nil
	}
	return s, upto, err
}
