// Package checkpoint keeps the durable progress of outputs: for each one a Position, in a bbolt database.
//
// # What may be lost
//
// Every position is also written into the log about once a second. A database that is lost or damaged therefore costs
// that second again, as duplicates, and is never a reason to refuse a start: Open moves it into quarantine, makes a new
// one of what is still readable, and says so.
//
// # Reading before opening
//
// bbolt trusts its file. On a damaged page it panics, in a goroutine of its own if it likes, or touches memory behind
// the end of a file that became shorter, which ends the process with SIGBUS. Nobody can recover from either. So Open
// reads the file itself first, page by page, and gives bbolt only what bbolt can have written (pages.go). Each value carries a
// checksum over its key and its bytes, and one more value a checksum over all of them, since a page that merely is
// an older one, or lost its count, looks sound on its own.
//
// # Creating
//
// Creating a bbolt file is not crash-safe: bbolt writes its first pages and its first buckets in two steps, and never
// syncs the directory. A crash in between leaves a file that exists and does not work. So a new database is made under a
// temporary name, with its buckets and all positions in it, closed, filled up to its size with written zeros, synced,
// renamed, and its directory synced; only then it is opened under its own name. Whatever stands under the temporary name
// is left from a crash, and is removed.
//
// # Full disk
//
// The zeros are there because progress must be saved just when the disk is full: it is what frees segments. bbolt writes
// pages anew and reuses those of the transaction before last, so that a file of that size has room for good.
package checkpoint

import (
	"errors"
	"fmt"
)

// Store keeps the positions of outputs by key (see Key). It may be used by several goroutines.
type Store interface {
	// Load is all positions. The caller owns what it gets.
	Load() (map[string]Position, error)
	// Save makes the positions durable and removes the keys that are gone, all of it or none; other keys stay. One that would go back
	// (see Position.Newer) is passed over in silence: what was done cannot become undone except in a higher stream.
	// After an error nothing is known of the positions given; they are to be saved again.
	Save(positions map[string]Position, gone ...string) error
	// Close releases the store. Load and Save fail from then on; a second Close does nothing.
	Close() error
}

// ErrClosed is the error of a Store that was closed.
var ErrClosed = errors.New("checkpoint store is closed")

const maxKey = 1024 // bytes

// table is the positions of a store, kept apart from their place on the disk.
type table map[string]Position

// forward is what of the positions would move something in the table.
func (t table) forward(positions map[string]Position) (table, error) {
	moved := make(table)
	for key, p := range positions {
		if key == "" || len(key) > maxKey {
			return nil, fmt.Errorf("key of %d bytes, want 1 to %d", len(key), maxKey)
		}
		if err := p.validate(); err != nil {
			return nil, fmt.Errorf("position of %s: %w", key, err)
		}
		if old, ok := t[key]; ok && (old.Newer(p) || old.equal(p)) {
			continue
		}
		moved[key] = p.clone()
	}
	return moved, nil
}

func (t table) clone() table {
	c := make(table, len(t))
	for key, p := range t {
		c[key] = p.clone()
	}
	return c
}
