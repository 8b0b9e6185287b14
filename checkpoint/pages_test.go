package checkpoint

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"go.etcd.io/bbolt"
)

// sample is a database that was saved to 200 times, and what it holds.
type sample struct {
	name   string
	file   []byte
	values map[string]Position
}

// samples are databases of every shape: buckets inline, in a leaf, in leaves below branches, values with pages of their own.
func samples(t *testing.T) []sample {
	t.Helper()
	var all []sample
	for _, outputs := range []int{1, 8, 50} {
		rng := rand.New(rand.NewPCG(uint64(outputs), 0))
		path := filepath.Join(t.TempDir(), "checkpoints.db")
		b, _, err := Open(path)
		must(t, err)
		for i := range 200 {
			save := make(map[string]Position)
			for range 1 + rng.IntN(min(outputs, 4)) {
				p := randomPosition(rng)
				if outputs == 1 {
					p = Position{Floor: uint64(i)}
				}
				save[Key(fmt.Sprint("output-", rng.IntN(outputs)))] = p
			}
			must(t, b.Save(save))
		}
		values, err := b.Load()
		must(t, err)
		must(t, b.Close())
		file, err := os.ReadFile(path)
		must(t, err)
		all = append(all, sample{fmt.Sprintf("%d outputs", outputs), file, values})
	}
	return all
}

// pagesOf is the number of pages in use.
func (s sample) pagesOf() int { return int(readPages(s.file).inUse) }

func TestSamplesHaveEveryShape(t *testing.T) {
	kinds := make(map[string]bool)
	for _, s := range samples(t) {
		p := readPages(s.file)
		if len(p.findings) > 0 {
			t.Fatalf("%s: what bbolt wrote is faulted: %q", s.name, p.findings)
		}
		if values, findings := readTable(s.file); len(findings) > 0 || !reflect.DeepEqual(map[string]Position(values), s.values) {
			t.Fatalf("%s: %q, or other values", s.name, findings)
		}
		for id := range p.inUse {
			b := s.file[id*pageSize:]
			kinds[fmt.Sprintf("flags %x", order.Uint16(b[8:]))] = true
			if order.Uint32(b[12:]) > 0 {
				kinds["overflow"] = true
			}
		}
		if len(p.file) < fileSize {
			t.Fatalf("%s: the file has %d bytes", s.name, len(p.file))
		}
	}
	for _, kind := range []string{"flags 1", "flags 2", "flags 4", "flags 10", "overflow"} {
		if !kinds[kind] {
			t.Errorf("no page with %s", kind)
		}
	}
}

// survive opens a damaged file and checks what must hold then: the old values exactly, or a problem and the damaged
// file, unchanged, in quarantine; and in both cases a store that works.
func (s sample) survive(t *testing.T, what string, file []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "checkpoints.db")
	must(t, os.WriteFile(path, file, 0o600))
	b, problems, err := Open(path)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	got, err := b.Load()
	must(t, err)
	switch {
	case len(problems) == 0:
		if !reflect.DeepEqual(got, s.values) {
			t.Fatalf("%s: no problem was reported, and the positions are others", what)
		}
	default:
		kept, err := os.ReadFile(problems[0].MovedTo)
		if err != nil || !bytes.Equal(kept, file) {
			t.Fatalf("%s: the file is not in quarantine as it was: %v, %v", what, problems, err)
		}
	}
	for key, p := range got {
		if want := s.values[key]; p.Newer(want) {
			t.Fatalf("%s: %s is at %+v, beyond %+v", what, key, p, want)
		}
	}

	must(t, b.Save(map[string]Position{"new": full()}))
	got["new"] = full()
	must(t, b.Close())
	again, problems, err := Open(path)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%s: opened again: %v, %v", what, problems, err)
	}
	wantValues(t, again, got)
	must(t, again.Close())
}

// noise fills b with random bytes.
func noise(b []byte, seed int) {
	rng := rand.New(rand.NewPCG(uint64(seed), 9))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

func TestDamagedPages(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			count := s.pagesOf()
			for id := range count {
				damage := map[string]func(file, page []byte){
					"zeros":       func(_, page []byte) { clear(page) },
					"noise":       func(_, page []byte) { noise(page, id) },
					"noise below": func(_, page []byte) { noise(page[pageHeader:], id) },
					"swap": func(file, page []byte) {
						other := file[(id*7+1)%count*pageSize:][:pageSize]
						was := bytes.Clone(page)
						copy(page, other)
						copy(other, was)
					},
					"copy of the next": func(file, page []byte) { copy(page, file[(id+1)%count*pageSize:][:pageSize]) },
				}
				for name, do := range damage {
					file := bytes.Clone(s.file)
					do(file, file[id*pageSize:][:pageSize])
					s.survive(t, fmt.Sprintf("page %d: %s", id, name), file)
				}
			}
		})
	}
}

func TestTruncatedFiles(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			for id := range s.pagesOf() + 2 {
				for _, extra := range []int{0, 1, 2000} {
					s.survive(t, fmt.Sprintf("cut in page %d at %d", id, extra), s.file[:id*pageSize+extra])
				}
			}
		})
	}
}

// TestFlippedBits flips bits all over the pages in use. Only what the check lets pass is opened, and bbolt itself must
// have nothing to object then.
func TestFlippedBits(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			used := s.pagesOf() * pageSize
			step := max(used*8/2500, 1) | 1
			opened := 0
			for bit := 0; bit < used*8; bit += step {
				s.file[bit/8] ^= 1 << (bit % 8)
				values, findings := readTable(s.file)
				if len(findings) == 0 {
					if !reflect.DeepEqual(map[string]Position(values), s.values) {
						t.Fatalf("bit %d of byte %d: other positions, and nothing was found", bit%8, bit/8)
					}
					if opened++; opened%50 == 0 {
						checkWithBolt(t, s.file)
					}
				}
				s.file[bit/8] ^= 1 << (bit % 8)
			}
			if opened == 0 {
				t.Fatal("no flipped bit is harmless, not even in a free page")
			}
		})
	}
}

// checkWithBolt lets bbolt check a file that readPages had nothing to say about.
func checkWithBolt(t *testing.T, file []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	must(t, os.WriteFile(path, file, 0o600))
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt: %v", err)
		}
		return nil
	}))
	must(t, db.Close())
}

// TestOlderPage: a page that was never written is sound on its own and has the right number.
func TestOlderPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints.db")
	b, _, err := Open(path)
	must(t, err)
	var files [][]byte
	for floor := range uint64(40) {
		must(t, b.Save(map[string]Position{"a": {Floor: floor}, "b": {Floor: floor}}))
		file, err := os.ReadFile(path)
		must(t, err)
		files = append(files, file)
	}
	values, err := b.Load()
	must(t, err)
	must(t, b.Close())
	s := sample{"", files[len(files)-1], values}
	silent := 0
	for age, old := range files[:len(files)-1] {
		for id := uint64(2); id < newest(s.file).inUse; id++ {
			file := bytes.Clone(s.file)
			copy(page(file, id), page(old, id))
			if _, findings := readTable(file); len(findings) == 0 {
				silent++
			}
			if age%10 == 0 {
				s.survive(t, fmt.Sprintf("page %d of save %d", id, age), file)
			}
		}
	}
	t.Logf("%d times the page was free or complete in itself", silent)
}

func FuzzReadTable(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "checkpoints.db")
	b, _, err := Open(path)
	if err == nil {
		err = b.Save(map[string]Position{Key("a"): full(), Key("b"): {}})
	}
	if err == nil {
		err = b.Close()
	}
	if err != nil {
		f.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	file = file[:newest(file).inUse*pageSize]
	f.Add(uint(0), []byte{})
	f.Add(uint(2*pageSize+8), []byte{2, 0, 1, 0})
	f.Fuzz(func(t *testing.T, at uint, patch []byte) {
		bad := bytes.Clone(file)
		copy(bad[at%uint(len(bad)):], patch)
		sumMeta(bad, 0)
		sumMeta(bad, 1)
		readTable(bad)
		readTable(patch)
	})
}
