package tail

import (
	"log/slog"

	"github.com/fsnotify/fsnotify"
)

// watch asks the system to tell what happens in directories. Where it cannot, what is missing is found by looking.
type watch struct {
	log    *slog.Logger
	inner  *fsnotify.Watcher // nil: there are none
	dirs   map[string]fileID
	remote map[string]bool       // directories on file systems that do not tell
	silent func(dir string) bool // says whether nothing is told of a directory
	full   bool                  // no more watches are to be had
	events <-chan fsnotify.Event
	errors <-chan error
}

// notifications is how many may wait for the planner; the kernel keeps more.
const notifications = 1 << 12

func newWatch(log *slog.Logger) *watch {
	w := &watch{log: log, silent: tellsNothing, dirs: map[string]fileID{}, remote: map[string]bool{}}
	// Room for those that come together: they are taken in one go, and the planner rests between two.
	inner, err := fsnotify.NewBufferedWatcher(notifications)
	if err != nil {
		w.log.Warn("changes of files are found by looking, not told", "error", err, "next", "raise fs.inotify.max_user_instances")
		w.full = true
		return w
	}
	w.inner, w.events, w.errors = inner, inner.Events, inner.Errors
	return w
}

// add watches a directory, unless that is done already. A directory that another one replaced is another one.
func (w *watch) add(dir string, id fileID) {
	if was, ok := w.dirs[dir]; ok && was == id {
		return
	} else if ok {
		w.remove(dir)
	}
	if w.inner == nil {
		return
	}
	if w.silent(dir) {
		w.remote[dir] = true
		return
	}
	delete(w.remote, dir)
	if err := w.inner.Add(dir); err != nil {
		if !w.full {
			w.log.Warn("changes of files are found by looking, not told", "directory", dir, "error", err,
				"next", "raise fs.inotify.max_user_watches")
		}
		w.full = true
		return
	}
	w.dirs[dir] = id
}

func (w *watch) remove(dir string) {
	delete(w.dirs, dir)
	delete(w.remote, dir)
	if w.inner != nil {
		_ = w.inner.Remove(dir) // it is not watched, then
	}
}

// keep ends the watch of all other directories.
func (w *watch) keep(dirs map[string]fileID) {
	for dir := range w.dirs {
		if _, ok := dirs[dir]; !ok {
			w.remove(dir)
		}
	}
	for dir := range w.remote {
		if _, ok := dirs[dir]; !ok {
			delete(w.remote, dir)
		}
	}
}

// polls says whether changes have to be found by looking.
func (w *watch) polls() bool { return w.full || len(w.remote) > 0 }

func (w *watch) close() {
	if w.inner != nil {
		w.inner.Close()
	}
}
