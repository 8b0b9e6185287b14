package tail

import (
	"os"
	"reflect"
	"testing"
	"time"
)

func TestFollowsAFile(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "one\ntwo\nthr")
	g.settle()
	g.want("one", "two")
	g.write("a.log", "ee\n")
	g.settle()
	g.want("one", "two", "three")
	g.write("a.log", "fo")
	g.settle()
	g.wait(4 * time.Second)
	g.want("one", "two", "three")
	g.wait(2 * time.Second)
	g.want("one", "two", "three", "fo")
	g.write("a.log", "ur\n")
	g.settle()
	g.want("one", "two", "three", "fo", "ur")
	n := len(g.log.steps)
	g.restart(n)
	g.wait(time.Hour)
	if len(g.log.lines(len(g.log.steps))) != 0 {
		t.Errorf("read again: %q", g.log.lines(len(g.log.steps)))
	}
}

// Positions of every version are read.
func TestVersionsOfPositions(t *testing.T) {
	p := position{offset: 5, head: fingerprint{5, 1}, tail: fingerprint{5, 1}, gen: 1, mtime: 2, name: "/a"}
	for version := positionVersion; version <= positionBegun; version++ {
		switch version {
		case positionBorn:
			p.born = 3
		case positionBegun:
			p.begun = 4
		}
		b := p.append(nil)
		if q, err := decodePosition(b); err != nil || !reflect.DeepEqual(p, q) || int(b[0]) != version {
			t.Errorf("version %d: %+v is read as %+v, %v", version, p, q, err)
		}
	}
}

func TestRenamed(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "1\n2\n")
	g.settle()
	w, err := os.OpenFile(g.path("a.log"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer w.Close()
	must(t, os.Rename(g.path("a.log"), g.path("a.log.1")))
	w.WriteString("3\n4")
	g.write("a.log", "6\n")
	g.settle()
	w.WriteString("5\n")
	g.settle()
	g.want("1", "2", "3", "45", "6")
}
