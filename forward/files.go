package forward

import (
	"fmt"

	"logmule/forward/config"
	"logmule/forward/input"
	"logmule/forward/input/tail"
)

// PlannedFiles is what one input would read of which files.
type PlannedFiles struct {
	Input string
	Files []tail.Planned
}

// PlanFiles says for each input that follows files what a start would read now, without reading or changing anything.
// positions returns what the queue knows of the sources whose key begins with prefix.
func PlanFiles(cfg *config.Config, positions func(prefix string) (map[string][]byte, error)) ([]PlannedFiles, error) {
	var all []PlannedFiles
	for i := range cfg.Inputs {
		section := &cfg.Inputs[i]
		in, err := input.New(section.Type, section.Decode, input.Env{Name: section.Name})
		if err != nil {
			return nil, section.Place(err)
		}
		p, ok := in.(input.FilePlanner)
		if !ok {
			continue
		}
		known, err := positions("in/" + section.Name + "/")
		if err != nil {
			return nil, fmt.Errorf("read the positions of input %s: %w", section.Name, err)
		}
		all = append(all, PlannedFiles{Input: section.Name, Files: p.Plan(known)})
	}
	return all, nil
}
