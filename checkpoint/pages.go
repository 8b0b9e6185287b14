package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// The file of bbolt (its version 1.5, file version 2), in the byte order of the machine. Pages of 4096 bytes:
//
//	page header   0 id u64 | 8 flags u16 | 10 count u16 | 12 overflow u32: pages that follow and belong to this one
//	meta          16 magic u32 | 20 version u32 | 24 page size u32 | 28 flags u32 | 32 root bucket (page u64, sequence u64)
//	(pages 0, 1)  48 free list page u64 | 56 pages in use u64 | 64 transaction u64 | 72 FNV-1a of bytes 16 to 71 u64
//	free list     16 ids of free pages u64 each, ascending
//	branch        16 elements: position of the key from the element's start u32, key size u32, page u64 | keys
//	leaf          16 elements: flags u32, position u32, key size u32, value size u32 | keys and values
//
// The value of a bucket element (flag 1) is the page of the bucket's tree u64 and a sequence u64. Where that page is 0, a leaf
// page follows in the value itself. Of the two metas the one with the higher transaction counts; they take turns.
const (
	pageSize     = 4096
	pageHeader   = 16
	elementSize  = 16
	bucketHeader = 16
	metaEnd      = 80

	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10

	bucketFlag = 0x01

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	maxFile     = 64 << 20 // bytes; far more than positions take
	maxFindings = 8        // of one damaged file
)

var order = binary.NativeEndian

// pages is a database file that is being checked, without bbolt.
type pages struct {
	file        []byte
	transaction uint64                       // the last one
	inUse       uint64                       // pages that belong to the database, the metas included
	owned       []bool                       // of these, the ones that something refers to
	buckets     map[string]map[string][]byte // what the buckets hold, as far as it can be read
	findings    []string                     // what bbolt would not have written
}

// readPages checks a whole database. Where it finds nothing, bbolt can open the file and write to it.
func readPages(file []byte) *pages {
	p := &pages{file: file, buckets: make(map[string]map[string][]byte)}
	m, ok := p.newestMeta()
	if !ok {
		return p
	}
	p.transaction, p.inUse = m.transaction, m.inUse
	if have := uint64(len(file) / pageSize); have < m.inUse {
		p.find("%d pages are in use, the file has %d", m.inUse, have)
		p.inUse = have
	}
	p.owned = make([]bool, p.inUse)
	p.own(0, 2, "metas")
	p.tree(m.root, nil, nil, p.bucket)
	p.freelist(m.freelist)
	for id, owned := range p.owned {
		if !owned {
			p.find("page %d belongs to nothing", id)
		}
	}
	return p
}

func (p *pages) find(format string, args ...any) {
	if len(p.findings) < maxFindings {
		p.findings = append(p.findings, fmt.Sprintf(format, args...))
	}
}

// meta is what counts of a meta page.
type meta struct {
	root, freelist, inUse, transaction uint64
}

// newestMeta is the meta that bbolt would use. That the other one is bad is no harm yet; but a sector is written as a
// whole and a meta fits in one, so it is damage, and bbolt would not tell.
func (p *pages) newestMeta() (meta, bool) {
	a, aOK := p.meta(0)
	b, bOK := p.meta(1)
	switch {
	case aOK && bOK:
		if a.transaction+1 != b.transaction && b.transaction+1 != a.transaction {
			p.find("metas of transactions %d and %d", a.transaction, b.transaction)
		}
		if a.transaction > b.transaction {
			return a, true
		}
		return b, true
	case aOK:
		return a, true
	}
	return b, bOK
}

func (p *pages) meta(slot uint64) (meta, bool) {
	start := slot * pageSize
	if uint64(len(p.file)) < start+pageSize {
		p.find("the file ends before meta %d", slot)
		return meta{}, false
	}
	b := p.file[start : start+pageSize]
	sum := fnv.New64a()
	sum.Write(b[pageHeader : metaEnd-8])
	m := meta{root: order.Uint64(b[32:]), freelist: order.Uint64(b[48:]), inUse: order.Uint64(b[56:]), transaction: order.Uint64(b[64:])}
	switch {
	case order.Uint64(b[metaEnd-8:]) != sum.Sum64():
		p.find("meta %d: bad checksum", slot)
	case order.Uint64(b) != slot || m.transaction%2 != slot || order.Uint64(b[8:]) != metaPage:
		p.find("meta %d: it says that it is page %d of transaction %d", slot, order.Uint64(b), m.transaction)
	case order.Uint32(b[16:]) != boltMagic || order.Uint32(b[20:]) != boltVersion || order.Uint32(b[24:]) != pageSize || order.Uint32(b[28:]) != 0:
		p.find("meta %d: not of a database with pages of %d bytes", slot, pageSize)
	case m.inUse > maxFile/pageSize:
		p.find("meta %d: %d pages in use", slot, m.inUse)
	default:
		return m, true
	}
	return meta{}, false
}

// own takes count pages from id on for what, once.
func (p *pages) own(id, count uint64, what string) bool {
	if id > p.inUse || count > p.inUse-id {
		p.find("%s: page %d of %d", what, id+count-1, p.inUse)
		return false
	}
	for i := range count {
		if p.owned[id+i] {
			p.find("%s: page %d has another owner", what, id+i)
			return false
		}
	}
	for i := range count {
		p.owned[id+i] = true
	}
	return true
}

// page takes a page, with those that belong to it, and returns their bytes, header included.
func (p *pages) page(id uint64, what string) (b []byte, flags uint16, ok bool) {
	if id < 2 || id >= p.inUse {
		p.find("%s: page %d of %d", what, id, p.inUse)
		return nil, 0, false
	}
	start := id * pageSize
	header := p.file[start : start+pageHeader]
	if got := order.Uint64(header); got != id {
		p.find("%s: page %d says that it is page %d", what, id, got)
		return nil, 0, false
	}
	count := 1 + uint64(order.Uint32(header[12:]))
	if !p.own(id, count, what) {
		return nil, 0, false
	}
	return p.file[start : start+count*pageSize], order.Uint16(header[8:]), true
}

// tree checks the tree below a page, all of whose keys are at or after from and before to (nil: no limit), and calls
// leaf with what it holds.
func (p *pages) tree(id uint64, from, to []byte, leaf func(element)) {
	b, flags, ok := p.page(id, "tree")
	if !ok {
		return
	}
	elements, err := parseElements(b, flags)
	if err == nil {
		err = ordered(elements, from, to)
	}
	if err == nil && len(elements) == 0 && from != nil {
		err = errors.New("empty leaf below a branch")
	}
	if err != nil {
		p.find("page %d: %v", id, err)
		return
	}
	for i, e := range elements {
		if flags == leafPage {
			leaf(e)
			continue
		}
		end := to
		if i+1 < len(elements) {
			end = elements[i+1].key
		}
		p.tree(e.child, e.key, end, leaf)
	}
}

// bucket checks what an element of the root holds: a bucket, with values only.
func (p *pages) bucket(e element) {
	if e.flags != bucketFlag || len(e.value) < bucketHeader {
		p.find("%q is not a bucket", e.key)
		return
	}
	values := make(map[string][]byte)
	p.buckets[string(e.key)] = values
	add := func(v element) {
		if v.flags != 0 {
			p.find("%q in %q has flags %x", v.key, e.key, v.flags)
			return
		}
		values[string(v.key)] = v.value
	}
	root, inline := order.Uint64(e.value), e.value[bucketHeader:]
	if root != 0 {
		if len(inline) != 0 {
			p.find("bucket %q has a page and values of its own", e.key)
		}
		p.tree(root, nil, nil, add)
		return
	}
	if len(inline) < pageHeader || order.Uint64(inline) != 0 || order.Uint32(inline[12:]) != 0 || order.Uint16(inline[8:]) != leafPage {
		p.find("bucket %q has a bad header", e.key)
		return
	}
	elements, err := parseElements(inline, leafPage)
	if err == nil {
		err = ordered(elements, nil, nil)
	}
	if err != nil {
		p.find("bucket %q: %v", e.key, err)
		return
	}
	for _, v := range elements {
		add(v)
	}
}

// freelist checks that the free list names pages that nothing else uses.
func (p *pages) freelist(id uint64) {
	b, flags, ok := p.page(id, "free list")
	if !ok {
		return
	}
	count := uint64(order.Uint16(b[10:]))
	// bbolt writes 0xFFFF for a count that does not fit: more than a database of maxFile has pages.
	if flags != freelistPage || count == 0xFFFF || pageHeader+8*count > uint64(len(b)) {
		p.find("page %d: flags %x, no free list of %d pages", id, flags, count)
		return
	}
	for i := range count {
		p.own(order.Uint64(b[pageHeader+8*i:]), 1, "free list")
	}
}

// element is one of a branch (key and child) or of a leaf (flags, key and value).
type element struct {
	flags      uint32
	key, value []byte
	child      uint64
}

// parseElements reads the elements of a page. bbolt lays their bytes down one after the other and without a gap, so
// that a wrong count shows.
func parseElements(b []byte, flags uint16) ([]element, error) {
	if flags != branchPage && flags != leafPage {
		return nil, fmt.Errorf("flags %x, neither branch nor leaf", flags)
	}
	count := int(order.Uint16(b[10:]))
	if flags == branchPage && count == 0 {
		return nil, errors.New("branch without elements")
	}
	next := pageHeader + count*elementSize
	if next > len(b) {
		return nil, fmt.Errorf("%d elements in %d bytes", count, len(b))
	}
	elements := make([]element, count)
	for i := range elements {
		at := pageHeader + i*elementSize
		position, keySize, valueSize := uint64(order.Uint32(b[at:])), uint64(order.Uint32(b[at+4:])), uint64(0)
		e := &elements[i]
		if flags == branchPage {
			e.child = order.Uint64(b[at+8:])
		} else {
			e.flags = order.Uint32(b[at:])
			position, keySize, valueSize = uint64(order.Uint32(b[at+4:])), uint64(order.Uint32(b[at+8:])), uint64(order.Uint32(b[at+12:]))
		}
		if uint64(at)+position != uint64(next) || keySize == 0 || keySize+valueSize > uint64(len(b)-next) {
			return nil, fmt.Errorf("element %d at %d has a key of %d and a value of %d bytes, %d are left", i, uint64(at)+position, keySize, valueSize, len(b)-next)
		}
		middle := next + int(keySize)
		e.key = b[next:middle]
		next = middle + int(valueSize)
		e.value = b[middle:next]
	}
	return elements, nil
}

// ordered checks that keys ascend, from from on and before to.
func ordered(elements []element, from, to []byte) error {
	for i, e := range elements {
		switch {
		case i == 0 && bytes.Compare(e.key, from) < 0, i > 0 && bytes.Compare(e.key, elements[i-1].key) <= 0:
			return fmt.Errorf("key %d is out of order", i)
		case to != nil && bytes.Compare(e.key, to) >= 0:
			return fmt.Errorf("key %d belongs to the next page", i)
		}
	}
	return nil
}
