package integration

import (
	"bytes"
	"sync"
)

// gathered keeps what arrived, a LF after each record.
type gathered struct {
	mu   sync.Mutex
	text []byte
}

func (g *gathered) add(record []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.text = append(append(g.text, record...), '\n')
}

// bytes gives what has come so far; the caller must not change it.
func (g *gathered) bytes() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text
}

// count is how many records have come.
func (g *gathered) count() int { return bytes.Count(g.bytes(), []byte{'\n'}) }

// has says whether a record arrived.
func (g *gathered) has(record string) bool {
	return bytes.Contains(append([]byte{'\n'}, g.bytes()...), []byte("\n"+record+"\n"))
}
