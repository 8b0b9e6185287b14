package forward

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery/hekaqueue"
)

// hekaDisk is a file system with one Heka queue on it, to read.
type hekaDisk struct {
	vfs.FS
	files map[string][]byte
}

type hekaFile struct {
	vfs.File
	*bytes.Reader
}

func (f hekaFile) ReadAt(b []byte, offset int64) (int, error) { return f.Reader.ReadAt(b, offset) }
func (f hekaFile) Size() (int64, error)                       { return f.Reader.Size(), nil }
func (f hekaFile) Close() error                               { return nil }

type hekaInfo struct {
	fs.FileInfo
	name string
	size int64
}

func (i hekaInfo) Name() string       { return i.name }
func (i hekaInfo) Size() int64        { return i.size }
func (i hekaInfo) Mode() fs.FileMode  { return 0o600 }
func (i hekaInfo) ModTime() time.Time { return time.Unix(1500000000, 0) }
func (i hekaInfo) IsDir() bool        { return false }

func (d hekaDisk) ReadDir(string) (infos []fs.FileInfo, err error) {
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		infos = append(infos, hekaInfo{name: name, size: int64(len(d.files[name]))})
	}
	return infos, nil
}

func (d hekaDisk) Open(name string) (vfs.File, error) {
	content, ok := d.files[path.Base(name)]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return hekaFile{Reader: bytes.NewReader(content)}, nil
}

// hekaFrame is a frame as Heka writes it.
func hekaFrame(message []byte) []byte {
	header := protowire.AppendVarint([]byte{8}, uint64(len(message)))
	return slices.Concat([]byte{0x1e, byte(len(header))}, header, []byte{0x1f}, message)
}

func hekaMessage(n int) []byte {
	r := pack.Record{Payload: fmt.Appendf(nil, "record %d %s", n, strings.Repeat("x", n%9*400)), Attributes: pack.Attributes{
		UUID: fmt.Appendf(nil, "%016d", n), Timestamp: int64(n + 1), Type: "t", Severity: 6,
	}}
	return r.Append(nil)
}

// hekaQueue is one of n records, a file for every ten, from record first on.
func hekaQueue(first, n int) hekaDisk {
	d := hekaDisk{files: map[string][]byte{}}
	for i := range n {
		name := fmt.Sprintf("%d.log", 7+i/10)
		d.files[name] = append(d.files[name], hekaFrame(hekaMessage(first+i))...)
	}
	return d
}

func (m *morgue) salvage(d vfs.FS, change func(*SalvageOptions)) (Salvaged, error) {
	m.t.Helper()
	q, err := hekaqueue.Open(m.t.Context(), d, "/heka/relay")
	if err != nil {
		m.t.Fatal(err)
	}
	opt := SalvageOptions{From: q, Into: "/data", Config: m.cfg, fsys: m.fs, open: m.open}
	if change != nil {
		change(&opt)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
	defer cancel()
	done, _, err := Salvage(ctx, opt)
	return done, err
}

func (m *morgue) mustSalvage(d vfs.FS, change func(*SalvageOptions)) Salvaged {
	m.t.Helper()
	done, err := m.salvage(d, change)
	if err != nil {
		m.t.Fatal(err)
	}
	return done
}

// owns are the records of the main queue, as their runs hold them.
func (m *morgue) owns() (all []string) {
	m.t.Helper()
	m.each(func(run segment.Run, own []byte) error {
		if len(run.Attributes) > 0 || run.Form != segment.Records || !strings.HasPrefix(string(run.Key), keyOfSalvage) {
			m.t.Errorf("a run of form %d, key %q with attributes %q", run.Form, run.Key, run.Attributes)
		}
		all = append(all, string(own))
		return nil
	})
	return all
}

func messages(first, n int) (all []string) {
	for i := first; i < first+n; i++ {
		all = append(all, string(hekaMessage(i)))
	}
	return all
}

func everything(opt *SalvageOptions) { opt.All = true }

func TestSalvage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		d := hekaQueue(0, 35)
		if done := m.mustSalvage(d, nil); done != (Salvaged{Records: 35, First: 1, Last: 35}) {
			t.Errorf("%+v", done)
		}
		expect(t, "put", m.owns(), messages(0, 35))
		if again := m.mustSalvage(d, everything); again != (Salvaged{Before: 35}) {
			t.Errorf("a second time: %+v", again)
		}
		// Heka has gone on meanwhile, and has deleted what it had delivered.
		maps.Copy(d.files, map[string][]byte{"10.log": append(d.files["10.log"], hekaFrame(hekaMessage(100))...), "11.log": hekaFrame(hekaMessage(101))})
		delete(d.files, "7.log")
		delete(d.files, "8.log")
		if more := m.mustSalvage(d, nil); more != (Salvaged{Records: 2, First: 36, Last: 37, Before: 15}) {
			t.Errorf("the next ones: %+v", more)
		}
		if other := m.mustSalvage(hekaQueue(200, 15), nil); other != (Salvaged{Records: 15, First: 38, Last: 52}) {
			t.Errorf("another queue: %+v", other)
		}
		expect(t, "put", m.owns(), slices.Concat(messages(0, 35), messages(100, 2), messages(200, 15)))
	})
}

// What Heka had delivered can be put afterwards: only that is, and in parts, too.
func TestSalvageOfTheDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		d := hekaQueue(0, 35)
		at := len(hekaFrame(hekaMessage(20))) + len(hekaFrame(hekaMessage(21)))
		d.files["checkpoint.txt"] = fmt.Appendf(nil, "9 %d", at)
		if done := m.mustSalvage(d, nil); done.Records != 13 || done.Before != 0 {
			t.Errorf("%+v", done)
		}
		if done := m.mustSalvage(d, everything); done.Records != 22 || done.Before != 13 {
			t.Errorf("the rest: %+v", done)
		}
		expect(t, "put", m.owns(), slices.Concat(messages(22, 13), messages(0, 22)))
		d.files["11.log"] = hekaFrame(hekaMessage(100))
		for _, records := range []uint64{1, 0} {
			if done := m.mustSalvage(d, everything); done.Records != records || done.Before != 36-records {
				t.Errorf("the next: %+v", done)
			}
		}
	})
}

// Nothing of what a Heka message can be is lost: bytes that are not UTF-8, fields of all types, names that repeat, numbers
// in their old form, and what no version knows.
func TestSalvageKeepsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		r := pack.Record{Payload: []byte("\xff\x00\x1e\n\x1f"), Attributes: pack.Attributes{
			UUID: []byte("0123456789abcdef"), Timestamp: -5, Type: "\xfe", Logger: "l", EnvVersion: "0.8", Pid: -1, Hostname: "h",
			Fields: []pack.Field{{Name: "a", Value: "x"}, {Name: "a", Value: []int64{1, -1}}, {Name: "b", Representation: "unit", Value: 1.5},
				{Name: "c", Value: []byte{0xff}}, {Name: "d", Value: []bool{true, false}}},
		}}
		message := r.Append(nil)
		message = append(message, 5<<3, 0xff, 0xff, 0xff, 0xff, 0x0f)                            // severity -1 in five bytes
		message = protowire.AppendString(protowire.AppendTag(message, 77, 2), "from the future") // nobody knows it
		bare := append([]byte("\x0a\x10"), "0000000000000000\x10\x01"...)
		m.mustSalvage(hekaDisk{files: map[string][]byte{"0.log": slices.Concat(hekaFrame(message), hekaFrame(bare))}}, nil)
		got := m.owns()
		expect(t, "put", got, []string{string(message), string(bare)})
		var back pack.Record
		if err := back.Decode(nil, []byte(got[0]), pack.Records); err != nil {
			t.Fatal(err)
		}
		r.Severity = -1
		if want := fmt.Sprintf("%#v", r); fmt.Sprintf("%#v", back) != want {
			t.Errorf("it is %#v, want %s", back, want)
		}
		if err := back.Decode(nil, []byte(got[1]), pack.Records); err != nil || back.Severity != pack.DefaultSeverity {
			t.Errorf("without a severity: %+v, %v", back, err)
		}
	})
}

// TestSalvagePowerLoss loses power at every operation of a salvage. The next one goes on where it was: every record is put
// there once, in order.
func TestSalvagePowerLoss(t *testing.T) {
	d := hekaQueue(0, 500)
	for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
		before := 0
		for n, more := 1, true; more; n++ {
			synctest.Test(t, func(t *testing.T) {
				m := newMorgue(t)
				m.with("/data", func(*queue.Queue) {})
				start := m.fs.Ops()
				m.fs.CrashAt(start + n)
				first, err := m.salvage(d, nil)
				more = m.fs.Ops() >= start+n
				m.fs = m.fs.Crash(mode, uint64(n))
				second := m.mustSalvage(d, nil)
				if second.Records > 0 {
					before += int(second.Before)
				}
				expect(t, fmt.Sprintf("%v, operation %d, %v, %+v, %+v", mode, n, err, first, second), m.owns(), messages(0, 500))
			})
		}
		if before == 0 {
			t.Errorf("%v: no salvage was interrupted in the middle of the queue", mode)
		}
	}
}

func TestSalvageIntoFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		m.with("/data", func(q *queue.Queue) { q.Reader("api", queue.Oldest).Close() })
		d := hekaQueue(0, 1000)
		size := m.cfg.Queue.MaxSize
		m.cfg.Queue.MaxSize, m.cfg.Queue.Compression = 640<<10, "none"
		done, err := m.salvage(d, nil)
		if err == nil || !strings.Contains(err.Error(), "max_size") || !strings.Contains(err.Error(), "salvage the rest when outputs have made room") || done.Records >= 1000 {
			t.Fatalf("%+v, %v", done, err)
		}
		m.cfg.Queue.MaxSize = size
		rest := m.mustSalvage(d, nil)
		// What was taken into memory last, and never had room, counts as put the first time.
		if done.Records < rest.Before || rest.Before+rest.Records != 1000 {
			t.Errorf("%+v, then %+v", done, rest)
		}
		expect(t, "put", m.owns(), messages(0, 1000))
	})
}

func TestSalvageTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		m.cfg.Queue.MaxSize = 1 << 30
		d := hekaQueue(0, 10)
		fits := pack.Record{Payload: bytes.Repeat([]byte("y"), segment.MaxRecord-40), Attributes: pack.Attributes{UUID: []byte("fits000000000000"), Timestamp: 1, Severity: 7}}
		large := pack.Record{Payload: bytes.Repeat([]byte("y"), segment.MaxRecord), Attributes: pack.Attributes{UUID: []byte("large00000000000"), Timestamp: 1, Severity: 7}}
		d.files["7.log"] = slices.Concat(hekaFrame(large.Append(nil)), d.files["7.log"], hekaFrame(large.Append(nil)), hekaFrame(fits.Append(nil)))
		done := m.mustSalvage(d, nil)
		if done.Records != 11 || done.TooLarge != 2 || done.Largest != int64(len(large.Append(nil))) {
			t.Errorf("%+v", done)
		}
		if got := m.owns(); len(got) != 11 || got[10] != string(fits.Append(nil)) {
			t.Errorf("%d records", len(got))
		}
		if again := m.mustSalvage(d, nil); again.Records != 0 || again.Before != 11 || again.TooLarge != 2 {
			t.Errorf("a second time: %+v", again)
		}
	})
}

// What an encoder of version 0.9 has made is the payload of a record.
func TestSalvagePlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		d := hekaDisk{files: map[string][]byte{"0.log": slices.Concat(hekaFrame([]byte("{}\n")), hekaFrame([]byte("{\"a\":1}\n")))}}
		m.mustSalvage(d, nil)
		m.mustSalvage(d, nil)
		var r pack.Record
		got := m.owns()
		if len(got) != 2 {
			t.Fatalf("%q", got)
		}
		err := r.Decode(nil, []byte(got[1]), pack.Records)
		if err != nil || string(r.Payload) != "{\"a\":1}\n" || r.Type != "heka-0.9" || r.Logger != "relay" || r.Severity != 7 || r.Timestamp != 1500000000e9 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestSalvageRefuses(t *testing.T) {
	m := newMorgue(t)
	if err := m.fs.MkdirAll("/data/home"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.salvage(hekaQueue(0, 1), nil); err == nil || !strings.Contains(err.Error(), "/data is no data directory") {
		t.Errorf("a directory of others: %v", err)
	}
}

// Two outputs of a Heka have queued records of which the first ones are the same: they are two queues, as are those of one
// name on two machines.
func TestSalvageOfTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		d := hekaQueue(0, 35)
		m.mustSalvage(d, nil)
		other := func(opt *SalvageOptions) {
			opt.From, _ = hekaqueue.Open(t.Context(), d, "/heka/archive")
		}
		if done := m.mustSalvage(d, other); done.Records != 35 || done.Before != 0 {
			t.Errorf("of another name: %+v", done)
		}
		twin := hekaQueue(0, 35)
		twin.files["10.log"] = slices.Concat(hekaFrame(hekaMessage(30)), hekaFrame(hekaMessage(41)), hekaFrame(hekaMessage(42)), hekaFrame(hekaMessage(43)), hekaFrame(hekaMessage(44)))
		if done := m.mustSalvage(twin, nil); done.Records != 35 || done.Before != 0 {
			t.Errorf("of the same name: %+v", done)
		}
		for _, again := range []hekaDisk{d, twin} {
			if done := m.mustSalvage(again, nil); done.Records != 0 || done.Before != 35 {
				t.Errorf("again: %+v", done)
			}
		}
	})
}

func TestStretch(t *testing.T) {
	s := &stretch{key: "relay/ab/12/1/7.log", start: hekaqueue.Position{File: "7.log", Offset: 12}, print: "cd", end: hekaqueue.Position{File: "a/b", Offset: 30}, tail: "ef", tailSize: 5}
	if s.key != startKey("relay", "ab", s.start, 1) {
		t.Errorf("the key is %q", startKey("relay", "ab", s.start, 1))
	}
	if queue, back, err := parseStretch(s.key, s.value()); err != nil || queue != "relay" || *back != *s {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []string{"", "ab", "relay/ab/1/0", "relay/ab/x/0/7.log", "relay/ab/1/x/7.log", "relay/ab/+1/0/7.log", "relay/ab/01/0/7.log", "ab/1/2/3", "ab/01/2/ef/7.log"} {
		if _, _, err := parseStretch(s.key, bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
		if _, _, err := parseStretch(bad, s.value()); err == nil {
			t.Errorf("%q is taken as a key", bad)
		}
	}
}

// Whatever passes as a Heka message is one for the rest of logmule too.
func FuzzSalvaged(f *testing.F) {
	f.Add(hekaMessage(1))
	f.Add((&pack.Record{Attributes: pack.Attributes{UUID: []byte("0123456789abcdef"), Fields: []pack.Field{{Name: "a", Value: []int64{1, -1}}, {Name: "b", Value: []float64{1}}, {Name: "c", Value: true}}}}).Append(nil))
	f.Fuzz(func(t *testing.T, message []byte) {
		q, err := hekaqueue.Open(t.Context(), hekaDisk{files: map[string][]byte{"0.log": hekaFrame(message)}}, "/heka/relay")
		if err != nil {
			t.Fatal(err)
		}
		_, err = q.Scan(t.Context(), hekaqueue.Visitor{Record: func(r *hekaqueue.Record) error {
			if r.Plain {
				return nil
			}
			return new(pack.Record).Decode(nil, r.Message, pack.Records)
		}})
		if err != nil {
			t.Errorf("a record that cannot be decoded: %v", err)
		}
	})
}
