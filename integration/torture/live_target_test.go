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

// sealed is one from the middle of the queue; nil: there is none right now.
func (v *live) sealed(wanted func(name string) bool) *target {
	v.t.Helper()
	all, err := filepath.Glob(filepath.Join(v.Data, "segments", segments))
	must(v.t, err)
	slices.Sort(all)
	if len(all) < 4 {
		return nil
	}
	path := all[len(all)/2]
	w := &target{v: v, name: filepath.Base(path), path: path}
	if !wanted(w.name) {
		return nil
	}
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
