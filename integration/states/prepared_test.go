package states

import (
	"bytes"
	"encoding/binary"
	"strings"
	"syscall"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// lived prepares the disk of a queue that has ended well.
func lived(l *life) *faultfs.FS {
	l.open()
	l.follow("a", 20*time.Millisecond)
	l.follow("b", 500*time.Millisecond)
	l.ingest(load{sources: 3, packs: 12, most: 3, size: 9000, pause: 100 * time.Millisecond})
	l.close()
	return l.fs.Crash(faultfs.Keep, 0)
}

// killed prepares the disk of a queue that was killed in the middle of its work.
func killed(l *life) *faultfs.FS {
	l.open()
	end := l.follow("a", 20*time.Millisecond)
	l.follow("b", 700*time.Millisecond)
	l.ingest(load{sources: 3, packs: 14, most: 3, size: 9000, pause: 30 * time.Millisecond})
	end()
	l.one(l.rng, "in/0", load{most: 3, size: 9000})
	fsys := l.fs.Crash(faultfs.Keep, 0)
	m := l.m.from(never-1, l.m.clock) // what becomes of the queue from here on is no part of that disk
	l.close()
	l.m = m
	return fsys
}

// damaged is killed, and some frames are destroyed then: in a sealed segment that a start does not read, in one that it
// does, and in the last one.
func damaged(l *life) *faultfs.FS {
	fsys := killed(l)
	infos, err := fsys.ReadDir(dataDir + "/" + recovery.SegmentDir)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, i := range []int{len(infos) - 4, len(infos) - 2, len(infos) - 1} {
		if i >= 0 {
			l.destroy(fsys, infos[i].Name(), false)
		}
	}
	return fsys.Crash(faultfs.Keep, 0)
}

// scratched is killed, and each sealed segment has a frame with bad bytes that its parity gives back.
func scratched(l *life) *faultfs.FS {
	fsys := killed(l)
	infos, err := fsys.ReadDir(dataDir + "/" + recovery.SegmentDir)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, info := range infos {
		l.destroy(fsys, info.Name(), true)
	}
	return fsys.Crash(faultfs.Keep, 0)
}

// destroy overwrites some of the frames of a segment, not the last one, and notes which records may be gone with them: in a
// sealed one its parity may not suffice. light: it overwrites a few bytes of one frame of a sealed segment, so that none is.
func (l *life) destroy(fsys *faultfs.FS, base string, light bool) {
	path := dataDir + "/" + recovery.SegmentDir + "/" + base
	f, err := fsys.OpenWrite(path)
	if err != nil {
		l.t.Fatal(err)
	}
	name, _ := segment.ParseName(base)
	size, _ := f.Size()
	t, err := segment.ReadTrailer(f, size)
	if light && err != nil {
		return
	}
	var frames []segment.Part
	for s := segment.NewScanner(f, name.Salt, segment.HeaderSize, size); ; {
		p, err := s.Next()
		if err != nil || p.Bad {
			break
		}
		if p.Header.Type == segment.Data {
			frames = append(frames, p)
		}
	}
	for i, p := range frames {
		if i%4 != 1 || i == len(frames)-1 || light && i > 1 {
			continue
		}
		wrong, at := bytes.Repeat([]byte{0xdb}, 30), p.Offset+p.Size/2
		if i%8 == 1 { // what the header says of the length of the body, so that it could be true
			stored, raw := p.Header.Stored+4096, p.Header.Raw
			if p.Header.Codec == segment.None {
				raw = stored
			}
			at = p.Offset + 20
			wrong = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, stored), raw)
		}
		if _, err := f.WriteAt(wrong, at); err != nil {
			l.t.Fatal(err)
		}
		if light {
			break
		}
		if again := at + segment.Groups*int64(t.Stripe); again+int64(len(wrong)) < p.Offset+p.Size { // in the same group
			if _, err := f.WriteAt(wrong, again); err != nil {
				l.t.Fatal(err)
			}
		}
		for s := p.Header.First; s <= p.Header.Last(); s++ {
			l.m.hurt[s] = true
		}
	}
	if err := f.Sync(); err != nil {
		l.t.Fatal(err)
	}
	if l.m.evidence[base], err = vfs.ReadFile(fsys, path, 1<<30); err != nil {
		l.t.Fatal(err)
	}
}

// fullDisk takes the room away at several moments, and gives it back.
func fullDisk(l *life) {
	l.open()
	l.follow("a", 50*time.Millisecond)
	l.follow("b", 200*time.Millisecond)
	for i, free := range []int64{0, 3000, 20000, 70000, 140000} {
		l.ingest(load{sources: 2, packs: 3 + i%2, most: 3, size: 9000})
		l.fs.SetFree(free)
		l.ingest(load{sources: 3, packs: 4, most: 3, size: 14000, patience: time.Second})
		l.fs.SetFree(1 << 30)
		time.Sleep(300 * time.Millisecond)
	}
	l.ingest(load{sources: 3, packs: 2, most: 3, size: 9000})
	l.close()
}

// failing makes one operation in a few fail, whatever it is, then every save of checkpoints, and lets the queue come to an
// end in peace.
func failing(l *life) {
	l.open()
	l.follow("a", 50*time.Millisecond)
	l.follow("b", 20*time.Millisecond)
	count := map[faultfs.Kind]int{}
	spacing := map[faultfs.Kind]int{
		faultfs.Sync: 6, faultfs.Write: 23, faultfs.SyncDir: 7, faultfs.Create: 9, faultfs.Rename: 8, faultfs.Allocate: 4,
		faultfs.Remove: 5,
	}
	l.fs.FailMatching(func(op faultfs.Op) error {
		if every := spacing[op.Kind]; every > 0 {
			if count[op.Kind]++; count[op.Kind]%every == 0 {
				return syscall.EIO
			}
		}
		return nil
	})
	l.ingest(load{sources: 3, packs: 14, most: 3, size: 9000, pause: 300 * time.Millisecond})
	l.fs.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Create && strings.Contains(op.Name, storeFile) {
			return syscall.EIO
		}
		return nil
	})
	l.ingest(load{sources: 3, packs: 10, most: 3, size: 9000, pause: 100 * time.Millisecond})
	time.Sleep(time.Second)
	l.fs.FailMatching(nil)
	l.ingest(load{sources: 3, packs: 2, most: 3, size: 9000})
	l.close()
}
