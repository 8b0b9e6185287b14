package checkpoint

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
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

// TestCraftedDamage is damage that checksums do not show, or only they do: each must be found, for the reason given.
func TestCraftedDamage(t *testing.T) {
	all := samples(t)
	small, large := all[0], all[2]
	root := func(file []byte) []byte { return page(file, newest(file).root) }
	branch := func(file []byte) []byte { // the root of the positions
		elements, err := parseElements(root(file), leafPage)
		must(t, err)
		return page(file, order.Uint64(elements[0].value))
	}
	cases := []struct {
		name   string
		sample sample
		damage func(file []byte)
		want   string
	}{
		{"both metas bad", small, func(f []byte) { clear(f[pageHeader:metaEnd]); clear(f[pageSize:][pageHeader:metaEnd]) }, "meta 1: bad checksum"},
		{"newest meta bad", small, func(f []byte) { page(f, newest(f).transaction%2)[30]++ }, "bad checksum"},
		{"other version", small, func(f []byte) { page(f, 0)[20] = 3; sumMeta(f, 0) }, "meta 0: not of a database"},
		{"other page size", small, func(f []byte) { order.PutUint32(page(f, 1)[24:], 8192); sumMeta(f, 1) }, "meta 1: not of a database"},
		{"transactions far apart", small, func(f []byte) { changeMeta(f, 64, newest(f).transaction+10) }, "metas of transactions"},
		{"meta in the wrong place", small, func(f []byte) { copy(f[:pageSize], f[pageSize:]) }, "it says that it is page 1"},
		{"more pages than the file", small, func(f []byte) { changeMeta(f, 56, 5000) }, "5000 pages are in use"},
		{"more pages than there can be", small, func(f []byte) { changeMeta(f, 56, 1<<60) }, "pages in use"},
		{"a page too many", small, func(f []byte) { changeMeta(f, 56, newest(f).inUse+1) }, "belongs to nothing"},
		{"root beyond the end", small, func(f []byte) { changeMeta(f, 32, 1<<40) }, "tree: page 1099511627776"},
		{"root is a meta", small, func(f []byte) { changeMeta(f, 32, 1) }, "tree: page 1 of"},
		{"root is the free list", small, func(f []byte) { changeMeta(f, 32, newest(f).freelist) }, "neither branch nor leaf"},
		{"free list is the root", small, func(f []byte) { changeMeta(f, 48, newest(f).root) }, "another owner"},
		{"no free list", small, func(f []byte) { changeMeta(f, 48, 1<<64-1) }, "free list: page"},
		{"free list without an end", small, func(f []byte) { order.PutUint16(page(f, newest(f).freelist)[10:], 0xffff) }, "no free list"},
		{"free list too long", small, func(f []byte) { order.PutUint16(page(f, newest(f).freelist)[10:], 600) }, "no free list"},
		{"free list names the root", small, func(f []byte) { order.PutUint64(page(f, newest(f).freelist)[pageHeader:], newest(f).root) }, "another owner"},
		{"free list names a meta", small, func(f []byte) { order.PutUint64(page(f, newest(f).freelist)[pageHeader:], 1) }, "another owner"},
		{"free list names nothing", small, func(f []byte) { order.PutUint64(page(f, newest(f).freelist)[pageHeader:], 1<<50) }, "free list: page"},
		{"free list names a page twice", small, func(f []byte) {
			b := page(f, newest(f).freelist)
			copy(b[pageHeader:], b[pageHeader+8:][:8])
		}, "another owner"},
		{"empty root", small, func(f []byte) { order.PutUint16(root(f)[10:], 0) }, "not those that were saved"},
		{"one bucket less", small, func(f []byte) { order.PutUint16(root(f)[10:], 1) }, "element 0"},
		{"a page that runs over", small, func(f []byte) { order.PutUint32(root(f)[12:], 1<<32-1) }, "tree: page"},
		{"a page that runs into the next", small, func(f []byte) { order.PutUint32(root(f)[12:], 1) }, "owner"},
		{"a bucket that is a value", small, func(f []byte) { order.PutUint32(root(f)[pageHeader:], 0) }, "is not a bucket"},
		{"an empty inline bucket", small, func(f []byte) { inline(t, f)[10] = 0 }, "not those that were saved"},
		{"an inline bucket of no kind", small, func(f []byte) { inline(t, f)[8] = 1 }, "bad header"},
		{"a bucket in a bucket", small, func(f []byte) { inline(t, f)[pageHeader] = 1 }, "has flags 1"},
		{"a cycle", large, func(f []byte) { order.PutUint64(branch(f)[pageHeader+8:], order.Uint64(branch(f))) }, "another owner"},
		{"a child twice", large, func(f []byte) { copy(branch(f)[pageHeader+8:][:8], branch(f)[pageHeader+elementSize+8:]) }, "another owner"},
		{"an empty branch", large, func(f []byte) { order.PutUint16(branch(f)[10:], 0) }, "branch without"},
		{"an empty child", large, func(f []byte) {
			b := page(f, order.Uint64(branch(f)[pageHeader+8:]))
			order.PutUint16(b[10:], 0)
		}, "empty leaf"},
		{"children in the wrong order", large, func(f []byte) {
			b := branch(f)
			one, two := b[pageHeader+8:][:8], b[pageHeader+elementSize+8:][:8]
			first := bytes.Clone(one)
			copy(one, two)
			copy(two, first)
		}, "key"},
		{"a key beyond its page", large, func(f []byte) { nudge(branchKey(t, branch(f), 1), 1) }, "is out of order"},
		{"a key of the page before", large, func(f []byte) { nudge(branchKey(t, branch(f), 1), -1) }, "belongs to the next page"},
		{"keys in the wrong order", large, func(f []byte) {
			leaf := page(f, order.Uint64(branch(f)[pageHeader+8:]))
			elements, err := parseElements(leaf, leafPage)
			must(t, err)
			copy(elements[0].key, elements[1].key)
		}, "key 1 is out of order"},
		{"the number of another page", large, func(f []byte) { order.PutUint64(root(f), newest(f).root+1) }, "says that it is page"},
		{"a key without bytes", large, func(f []byte) { order.PutUint32(branch(f)[pageHeader+4:], 0) }, "key of 0"},
		{"a key of another output", small, func(f []byte) {
			at := bytes.Index(root(f), []byte("output-0"))
			root(f)[at+7] = '1'
		}, `position of "out/output-1": damaged`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file := bytes.Clone(c.sample.file)
			c.damage(file)
			if _, findings := readTable(file); !strings.Contains(strings.Join(findings, "\n"), c.want) {
				t.Fatalf("found %q, want %q", findings, c.want)
			}
			c.sample.survive(t, c.name, file)
		})
	}
}

// page is the bytes of a page in a file.
func page(file []byte, id uint64) []byte { return file[id*pageSize:][:pageSize] }

func newest(file []byte) meta {
	m, _ := (&pages{file: file}).newestMeta()
	return m
}

// branchKey is the key of an element of a branch.
func branchKey(t *testing.T, b []byte, i int) []byte {
	t.Helper()
	elements, err := parseElements(b, branchPage)
	must(t, err)
	return elements[i].key
}

// nudge moves a key a little up or down in the order of keys.
func nudge(key []byte, by int) { key[len(key)-1] = byte(int(key[len(key)-1]) + by) }

// inline is the page of the positions bucket within the root.
func inline(t *testing.T, file []byte) []byte {
	t.Helper()
	elements, err := parseElements(page(file, newest(file).root), leafPage)
	must(t, err)
	return elements[0].value[bucketHeader:]
}

// changeMeta changes a number in the newest meta, with a checksum that is right.
func changeMeta(file []byte, at int, value uint64) {
	slot := newest(file).transaction % 2
	order.PutUint64(page(file, slot)[at:], value)
	sumMeta(file, slot)
}

func sumMeta(file []byte, slot uint64) {
	sum := fnv.New64a()
	sum.Write(page(file, slot)[pageHeader : metaEnd-8])
	order.PutUint64(page(file, slot)[metaEnd-8:], sum.Sum64())
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
