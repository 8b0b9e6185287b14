package queue

import (
	"errors"
	"slices"

	"logmule/recovery"
)

// uncopied are damaged bytes that could not be copied to quarantine when they were found: there was no room, or no quarantine.
type uncopied struct {
	file           *file
	offset, length int64
}

// mostUncopied bounds how many of them are remembered.
const mostUncopied = 1000

// copyLate copies them when that can be done, as long as their segments are there.
func (q *Queue) copyLate() {
	q.losses.copying.Lock()
	defer q.losses.copying.Unlock()
	q.losses.uncopied = slices.DeleteFunc(q.losses.uncopied, func(u uncopied) bool {
		if q.isClosing() || q.hasDisk(u.length) != nil {
			return false
		}
		handle, err := q.opt.FS.Open(u.file.path)
		if err != nil {
			return !q.files.holds(u.file)
		}
		name, err := recovery.Quarantine(q.opt.FS, q.opt.Dir, handle, u.file.name.String(), u.offset, u.length)
		if err = errors.Join(err, handle.Close()); err != nil {
			return false
		}
		q.aside.tidy.poke()
		q.opt.Log.Warn("damaged bytes are quarantined after all", "segment", u.file.path, "offset", u.offset, "quarantine", name)
		return true
	})
}
