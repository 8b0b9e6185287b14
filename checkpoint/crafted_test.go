package checkpoint

import (
	"bytes"
	"hash/fnv"
	"strings"
	"testing"
)

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
		{"free list of no kind", small, func(f []byte) { order.PutUint16(page(f, newest(f).freelist)[8:], leafPage) }, "no free list"},
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
