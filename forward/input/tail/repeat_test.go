package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLinesThatRepeat is TestNothingIsLostOrDoubled with lines that repeat, so that different contents begin with the same
// bytes, or are the same: then times tell them apart.
func TestLinesThatRepeat(t *testing.T) {
	if born(t.TempDir()) == 0 {
		t.Skip("the file system does not keep when a file was created")
	}
	seeds := 20
	if testing.Short() {
		seeds = 3
	}
	if n, err := strconv.Atoi(os.Getenv("TAIL_SEEDS")); err == nil {
		seeds = n
	}
	for _, size := range []int{10, 130} {
		for _, style := range styles {
			for _, globs := range []string{"live", "all"} {
				t.Run(fmt.Sprint(style, " ", globs, " ", size), func(t *testing.T) {
					t.Parallel()
					for seed := range seeds {
						if only := os.Getenv("TAIL_SEED"); only != "" && only != fmt.Sprint(seed) {
							continue
						}
						modelRun(t, style, globs, uint64(seed), strings.Repeat("a", size), strings.Repeat("b", size), strings.Repeat("c", size))
						if t.Failed() {
							t.Fatalf("seed %d", seed)
						}
					}
				})
			}
		}
	}
}

// packStep goes on with a rotation that compresses what was renamed, which other things may come between.
func (w *world) packStep() {
	if w.cycle != nil {
		defer time.Sleep(10 * time.Millisecond)
	}
	w.packing++
	one := filepath.Join(w.dir, "app.log.1")
	switch w.packing {
	case 1:
		for i := w.keep; i >= 1; i-- {
			if from := fmt.Sprintf("%s.%d.gz", w.live(), i); exists(from) {
				must(w.t, os.Rename(from, fmt.Sprintf("%s.%d.gz", w.live(), i+1)))
			}
		}
		must(w.t, os.Rename(w.live(), one))
	case 2:
		w.append("") // to a new file from here on
		if w.rnd.IntN(2) == 0 {
			w.append(w.line())
		}
	case 3:
		must(w.t, os.WriteFile(one+".gz", nil, 0o644))
	case 4:
		w.gzip(one, one+".gz")
	case 5:
		must(w.t, os.Remove(one))
		w.packing = 0
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// wrong says what is wrong with the records of a run.
func (w *world) wrong(got []string) string {
	if w.cycle == nil {
		return missing(got, w.n, w.risky)
	}
	if slices.Equal(got, w.lines) {
		return ""
	}
	short := func(lines []string) (s string) {
		for _, l := range lines {
			s += l[:1]
		}
		return s
	}
	return fmt.Sprintf("%d records, %d lines:\n%s\n%s", len(got), len(w.lines), short(got), short(w.lines))
}
