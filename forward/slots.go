package forward

// use books one more user of a slot.
func (f *feed) use(s *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.users++
}

// drop lets go of the newest frame, of which no more parts are to come.
func (f *feed) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now != nil {
		f.leave(f.now)
		f.now = nil
	}
}

// release empties h and lets go of its memory. Anybody may call it who has h.
func (f *feed) release(h *hand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range h.slots {
		f.leave(s)
	}
	clear(h.slots)
	clear(h.runs)
	h.batch.Reset()
	h.slots, h.runs, h.held = h.slots[:0], h.runs[:0], 0
}

// leave books one user less, and keeps a slot without any for later, unless that would hold too much memory. f.mu is held.
func (f *feed) leave(s *slot) {
	if s.users--; s.users > 0 || f.kept+s.size > feedKept || len(f.free) == feedFrames {
		return
	}
	f.kept += s.size
	f.free = append(f.free, s)
}

// spare is a slot to read into.
func (f *feed) spare() *slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := len(f.free) - 1
	if last < 0 {
		return new(slot)
	}
	s := f.free[last]
	f.free = f.free[:last]
	f.kept -= s.size
	return s
}

// unused gives a spare slot back.
func (f *feed) unused(s *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.size = max(s.size, int(s.frame.Raw))
	s.users++
	f.leave(s)
}
