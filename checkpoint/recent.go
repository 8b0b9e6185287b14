package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"sync"

	"logmule/queue/vfs"
)

// slotSize is one sector, so that a slot is written whole or not at all.
const slotSize = 512

// EndKey is the key of a slot that is no output's: the floor of its position is one above the durable mark of the log, Planned the first
// sequence that the queue has not let go, 0 where that is not known. What a log loses at its ends nothing else knows of. Load gives it
// with the positions.
const EndKey = "end"

const (
	// maxSlots bounds what is read of a file that something else has blown up, maxRefused how often a failing disk is asked: it may take
	// its time for each no.
	maxSlots   = 4096
	maxRefused = 64
)

// Recent is a Store with a small file beside it that is written, and never synced, each time an output gets on. What
// is written survives the end of the process, however it ends, so that a killed process repeats only what was in flight.
// What the power takes from the file costs nothing: then the store, which is behind it by a moment, counts.
//
// The file is a row of slots of 512 bytes, one for each output and one for the end of the log: CRC32C of what follows (4 bytes), length of the key (2),
// length of the position (2), key, position, zeros. A slot whose sum is wrong is free.
type Recent struct {
	Store

	mu    sync.Mutex // guards everything below
	file  vfs.File
	found map[string]Position
	slots map[string][]int64 // offsets of each key's slots: the first one is written, others were not readable when that was made
	spare []int64            // slots that nobody uses
	free  int64              // offset of the end, where the next one is made
}

// WithRecent opens the file at path, or makes it. The error is one of the file system; a file that is damaged, or of which the disk does
// not give all, is none: each slot stands for itself.
func WithRecent(store Store, fsys vfs.FS, path string) (*Recent, error) {
	f, err := fsys.OpenWrite(path)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = fsys.Create(path); err == nil {
			// Blocks for the first outputs, so that a full disk does not stop them; without room they come later.
			_, _ = f.WriteAt(make([]byte, 8*slotSize), 0)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open recent positions: %w; move %s away if it is not a regular file", err, path)
	}
	r := &Recent{Store: store, file: f, found: map[string]Position{}, slots: map[string][]int64{}}
	var refused []int64 // written anew where there is no other, since the disk may refuse that too
	r.free = readSlots(f, func(at int64, slot []byte) {
		key, p, ok := decodeSlot(slot)
		switch {
		case slot == nil:
			refused = append(refused, at)
		case !ok:
			r.spare = append(r.spare, at)
		default:
			r.slots[key] = append(r.slots[key], at)
			r.found[key] = Latest(p, r.found[key])
		}
	})
	r.spare = append(r.spare, refused...)
	return r, nil
}

// readSlots hands over every slot of a file with its offset, nil for one that the disk does not give, and returns where they end.
func readSlots(f io.ReaderAt, take func(at int64, slot []byte)) (end int64) {
	slot := make([]byte, slotSize)
	for refused := 0; end < maxSlots*slotSize && refused < maxRefused; end += slotSize {
		switch _, err := f.ReadAt(slot, end); {
		case err == nil:
			take(end, slot)
		case errors.Is(err, io.EOF):
			return end
		default:
			refused++
			take(end, nil)
		}
	}
	return end
}

// Load returns, of each output, the newer of what the store and the file have; what the older one has done counts too.
func (r *Recent) Load() (map[string]Position, error) {
	stored, err := r.Store.Load()
	if err != nil {
		return nil, err
	}
	all := maps.Clone(stored)
	if all == nil {
		all = map[string]Position{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, p := range r.found {
		all[key] = Latest(p, all[key])
	}
	return all, nil
}

// Note writes where an output stands. A position that does not fit, because of many done ranges, is written without the
// last ones.
func (r *Recent) Note(key string, p Position) error {
	slot, err := encodeSlot(key, p)
	if err != nil {
		return fmt.Errorf("note position of %s: %w", key, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.slots[key]) == 0 {
		r.slots[key] = []int64{r.unused()}
	}
	if _, err := r.file.WriteAt(slot, r.slots[key][0]); err != nil {
		return fmt.Errorf("note position of %s: %w", key, err)
	}
	return nil
}

// unused takes a slot that nobody uses.
func (r *Recent) unused() (at int64) {
	if len(r.spare) > 0 {
		at, r.spare = r.spare[0], r.spare[1:]
		return at
	}
	r.free += slotSize
	return r.free - slotSize
}

// Save is that of the store. What is gone leaves the file before it, durably: an older position, which a power loss could
// bring back there, must find a newer one in the store.
func (r *Recent) Save(positions map[string]Position, gone ...string) error {
	if err := r.remove(gone); err != nil {
		return err
	}
	return r.Store.Save(positions, gone...)
}

// remove frees the slots of these keys. The sync is needed also where this process has written none.
func (r *Recent) remove(gone []string) error {
	if len(gone) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range gone {
		delete(r.found, key)
		for _, at := range r.slots[key] {
			if _, err := r.file.WriteAt(make([]byte, slotSize), at); err != nil {
				return fmt.Errorf("remove recent position of %s: %w", key, err)
			}
		}
		r.spare = append(r.spare, r.slots[key]...)
		delete(r.slots, key)
	}
	if err := r.file.Sync(); err != nil {
		return fmt.Errorf("sync recent positions: %w", err)
	}
	return nil
}

// Close closes the file and the store. What was noted is made durable, if the disk takes it: nobody relies on that.
func (r *Recent) Close() error {
	_ = r.file.Sync()
	return errors.Join(r.file.Close(), r.Store.Close())
}

func encodeSlot(key string, p Position) ([]byte, error) {
	value, err := p.Encode()
	for err == nil && 8+len(key)+len(value) > slotSize && len(p.Done) > 0 {
		p.Done = p.Done[:len(p.Done)/2]
		value, err = p.Encode()
	}
	if err != nil {
		return nil, err
	}
	if 8+len(key)+len(value) > slotSize {
		return nil, fmt.Errorf("%d bytes do not fit a slot", len(key)+len(value))
	}
	slot := make([]byte, slotSize)
	binary.LittleEndian.PutUint16(slot[4:], uint16(len(key)))
	binary.LittleEndian.PutUint16(slot[6:], uint16(len(value)))
	copy(slot[8:], key)
	copy(slot[8+len(key):], value)
	binary.LittleEndian.PutUint32(slot, crc32.Checksum(slot[4:], castagnoli))
	return slot, nil
}

func decodeSlot(slot []byte) (key string, p Position, ok bool) {
	if slot == nil || binary.LittleEndian.Uint32(slot) != crc32.Checksum(slot[4:], castagnoli) {
		return "", p, false
	}
	k, v := int(binary.LittleEndian.Uint16(slot[4:])), int(binary.LittleEndian.Uint16(slot[6:]))
	if k == 0 || 8+k+v > slotSize {
		return "", p, false
	}
	p, err := Decode(slot[8+k : 8+k+v])
	return string(slot[8 : 8+k]), p, err == nil
}
