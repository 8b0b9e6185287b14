package rig

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Metric sums the samples of a metric whose label text holds every one of the given parts, such as `output="api"`.
// A metric without such a sample is 0.
func (p *Process) Metric(name string, labels ...string) (float64, error) {
	_, body, err := p.Get("/metrics")
	if err != nil {
		return 0, fmt.Errorf("read metric %s: %w", name, err)
	}
	var sum float64
	for line := range bytes.Lines(body) {
		text, ok := strings.CutPrefix(strings.TrimSpace(string(line)), name)
		if !ok || text == "" || text[0] != '{' && text[0] != ' ' || !holdsAll(text, labels) {
			continue
		}
		value, err := strconv.ParseFloat(text[strings.LastIndexByte(text, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("read metric %s: %w", name, err)
		}
		sum += value
	}
	return sum, nil
}

func holdsAll(text string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

var goroutineTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)

// Goroutines counts the goroutines of the process and gives the profile that names them.
func (p *Process) Goroutines() (count int, profile string, err error) {
	_, body, err := p.Get("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0, "", fmt.Errorf("read goroutines: %w", err)
	}
	m := goroutineTotal.FindSubmatch(body)
	if m == nil {
		return 0, "", fmt.Errorf("read goroutines: no total in %.80q", body)
	}
	count, err = strconv.Atoi(string(m[1]))
	return count, string(body), err
}
