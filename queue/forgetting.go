package queue

import (
	"fmt"
	"slices"
	"sync"

	"logmule/checkpoint"
)

// forgetting are the outputs that are forgotten, and whose position the log or the store may still have. The log comes
// first, since it has older positions: if it alone had one, a power loss would bring that back, and the output would miss
// records in deleted segments that it has done.
type forgetting struct {
	mu   sync.Mutex // guards list; never held over a system call
	list []leave
}

// leave is an output on its way out.
type leave struct {
	output string
	stream uint32 // that its last position belongs to
	logged bool   // the log has no position of it, durably
}

func (l *forgetting) begin(output string, stream uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, leave{output: output, stream: stream})
}

// end takes an output out of the list, if it is there: it is known again, or nowhere any more. If it is known again its
// stream is the one that is returned, in which every position is newer than those that there are.
func (l *forgetting) end(output string) (stream uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.list, func(o leave) bool { return o.output == output })
	if i < 0 {
		return 0
	}
	stream = l.list[i].stream + 1
	l.list = slices.Delete(l.list, i, i+1)
	return stream
}

// logged notes which positions the log has now, durably, and says whether it has lost one.
func (l *forgetting) logged(known map[string][]byte) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, o := range l.list {
		if _, there := known[checkpoint.Key(o.output)]; !there && !o.logged {
			l.list[i].logged, news = true, true
		}
	}
	return news
}

// done are the outputs whose position can leave the store.
func (l *forgetting) done() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var outputs []string
	for _, o := range l.list {
		if o.logged {
			outputs = append(outputs, o.output)
		}
	}
	return outputs
}

// forgetLogged takes the outputs out of the store that the log has forgotten.
func (q *Queue) forgetLogged() error {
	q.saving.Lock()
	defer q.saving.Unlock()
	q.outputs.Lock() // none of them comes back meanwhile
	defer q.outputs.Unlock()
	outputs := q.forgetting.done()
	if len(outputs) == 0 {
		return nil
	}
	var keys []string
	for _, output := range outputs {
		keys = append(keys, checkpoint.Key(output))
	}
	if err := q.store.Save(nil, keys...); err != nil {
		return fmt.Errorf("forget outputs %v: %w", outputs, err)
	}
	for _, output := range outputs {
		q.forgetting.end(output)
	}
	return nil
}
