package checkpoint

import (
	"fmt"
	"maps"
	"sync"
)

// Memory is a Store for tests: Save is durable at once, and what was saved outlives Close by way of Reopen.
type Memory struct {
	state  *memoryState
	closed bool // guarded by state.mu
}

// memoryState is shared by all stores that come from one NewMemory.
type memoryState struct {
	mu     sync.Mutex
	values table
}

// NewMemory is an empty store.
func NewMemory() *Memory {
	return &Memory{state: &memoryState{values: make(table)}}
}

// Reopen is a new store on the same positions, as after a restart; m itself is closed by it.
func (m *Memory) Reopen() Store {
	_ = m.Close() // cannot fail
	return &Memory{state: m.state}
}

// Load implements Store.
func (m *Memory) Load() (map[string]Position, error) {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	if m.closed {
		return nil, fmt.Errorf("load checkpoints: %w", ErrClosed)
	}
	return m.state.values.clone(), nil
}

// Save implements Store.
func (m *Memory) Save(positions map[string]Position, gone ...string) error {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	if m.closed {
		return fmt.Errorf("save checkpoints: %w", ErrClosed)
	}
	moved, err := m.state.values.forward(positions)
	if err != nil {
		return fmt.Errorf("save checkpoints: %w", err)
	}
	maps.Copy(m.state.values, moved)
	for _, key := range gone {
		delete(m.state.values, key)
	}
	return nil
}

// Close implements Store.
func (m *Memory) Close() error {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	m.closed = true
	return nil
}
