package torture

import (
	"os"
	"path/filepath"
	"slices"
)

// target is a sealed segment of a live queue, and a frame in the middle of it.
type target struct {
	v     *live
	name  string
	path  string
	text  []byte
	frame frameSpan
}

// names are the segments of the queue, in order.
func (v *live) names() (all []string) {
	v.t.Helper()
	paths, err := filepath.Glob(filepath.Join(v.Data, segmentFile(segments)))
	must(v.t, err)
	for _, path := range paths {
		all = append(all, filepath.Base(path))
	}
	slices.Sort(all)
	return all
}

// sealed is one from the middle of the queue; nil: there is none right now.
func (v *live) sealed(wanted func(name string) bool) *target {
	v.t.Helper()
	all := v.names()
	if len(all) < 4 || !wanted(all[len(all)/2]) {
		return nil
	}
	name := all[len(all)/2]
	path := filepath.Join(v.Data, segmentFile(name))
	w := &target{v: v, name: name, path: path}
	var err error
	if w.text, err = os.ReadFile(path); os.IsNotExist(err) {
		return nil
	}
	must(v.t, err)
	if _, ok := sealIn(w.text); !ok {
		return nil
	}
	w.frame = middleFrame(w.text)
	return w
}

// flip alters one bit of the file. It may be deleted just then, which is nobody's loss.
func (w *target) flip(at int) {
	w.v.t.Helper()
	f, err := os.OpenFile(w.path, os.O_RDWR, 0)
	if os.IsNotExist(err) {
		return
	}
	must(w.v.t, err)
	_, err = f.WriteAt([]byte{w.text[at] ^ 16}, int64(at))
	must(w.v.t, err)
	must(w.v.t, f.Close())
}
