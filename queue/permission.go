package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// whoMay says who cannot open a file of the queue, and what to type, where an error is about that: someone who restored a
// backup, or ran a command, as another user left it so.
func (q *Queue) whoMay(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	user := os.Geteuid()
	return fmt.Errorf("%w; the daemon runs as user %d, who may not read it: give it back with \"chown -R %d '%s' && chmod -R u+rwX '%s'\"", err, user, user, q.opt.Dir, q.opt.Dir)
}
