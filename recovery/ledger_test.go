package recovery

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

func newLedgerFS(t testing.TB) *faultfs.FS {
	t.Helper()
	fsys := faultfs.New()
	if err := fsys.MkdirAll(testDir); err != nil {
		t.Fatal(err)
	}
	return fsys
}

func openLedger(t testing.TB, fsys vfs.FS) *Ledger {
	t.Helper()
	l, err := OpenLedger(fsys, testDir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func lossAt(n uint64) Loss {
	return Loss{
		Time: time.Unix(int64(n), 0).UTC(), First: n * 10, Last: n*10 + 4, Count: 5, Cause: causeChecksum, Acknowledged: Acknowledged,
		Segment: "s.seg", Offset: int64(n), Length: 8, Quarantine: "quarantine/x.bin", Outputs: []string{"hq"},
	}
}

func TestLedger(t *testing.T) {
	fsys := newLedgerFS(t)
	l := openLedger(t, fsys)
	if err := l.Add(lossAt(1), lossAt(2)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLedger(t, fsys)
	if err := l.Add(lossAt(3)); err != nil {
		t.Fatal(err)
	}
	if records, lines := l.Total(); records != 15 || lines != 3 {
		t.Errorf("total is %d records in %d lines", records, lines)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadLedger(fsys, testDir)
	if err != nil || fmt.Sprint(got) != fmt.Sprint([]Loss{lossAt(1), lossAt(2), lossAt(3)}) {
		t.Errorf("read %v, %v", got, err)
	}
}

// TestLedgerDamage is what of a ledger can still be read, and that it can be added to.
func TestLedgerDamage(t *testing.T) {
	tests := map[string]struct {
		change func([]byte) []byte
		left   []uint64
	}{
		"last line torn":        {func(b []byte) []byte { return b[:len(b)-20] }, []uint64{1, 2}},
		"last line feed torn":   {func(b []byte) []byte { return b[:len(b)-1] }, []uint64{1, 2, 3}},
		"zeros at the end":      {func(b []byte) []byte { return append(b, make([]byte, 700)...) }, []uint64{1, 2, 3}},
		"zeros in the middle":   {func(b []byte) []byte { clear(b[len(b)/3 : len(b)/3+40]); return b }, []uint64{1, 3}},
		"flipped bit in a line": {func(b []byte) []byte { b[50] ^= 4; return b }, []uint64{2, 3}},
		"not a ledger":          {func([]byte) []byte { return []byte("hello\n\n{}\nworld") }, nil},
		"empty":                 {func([]byte) []byte { return nil }, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fsys := newLedgerFS(t)
			l := openLedger(t, fsys)
			if err := errors.Join(l.Add(lossAt(1), lossAt(2), lossAt(3)), l.Close()); err != nil {
				t.Fatal(err)
			}
			edit(t, fsys, filepath.Join(testDir, ledgerFile), test.change)
			l = openLedger(t, fsys)
			if err := errors.Join(l.Add(lossAt(4)), l.Close()); err != nil {
				t.Fatal(err)
			}
			losses, err := ReadLedger(fsys, testDir)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, loss := range losses {
				got = append(got, loss.First/10)
			}
			if want := append(slices.Clone(test.left), 4); !slices.Equal(got, want) {
				t.Errorf("read %v, want %v", got, want)
			}
		})
	}
}

// TestLedgerAgain adds to a ledger whose disk fails at every operation: the caller tries again, and each loss is there
// once, also after a power loss.
func TestLedgerAgain(t *testing.T) {
	for n := 1; ; n++ {
		fsys := newLedgerFS(t)
		done := fsys.Ops()
		fsys.FailAt(done+n, syscall.EIO)
		l := openLedger(t, fsys)
		for i := range uint64(3) {
			err := l.Add(lossAt(i + 1))
			if err != nil && !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			if err != nil {
				if err := l.Add(lossAt(i + 1)); err != nil {
					t.Fatalf("second try: %v", err)
				}
			}
		}
		for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
			losses, err := ReadLedger(fsys.Crash(mode, uint64(n)), testDir)
			if err != nil || fmt.Sprint(losses) != fmt.Sprint([]Loss{lossAt(1), lossAt(2), lossAt(3)}) {
				t.Fatalf("error at operation %d, %v: %v, %v", n, mode, losses, err)
			}
		}
		if fsys.Ops() < done+n {
			return
		}
	}
}

func FuzzLine(f *testing.F) {
	line, err := sealLine(lossAt(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(strings.TrimSuffix(string(line), "\n")))
	f.Add([]byte(`{"crc":"00000000"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var loss Loss
		if openLine(line, &loss) != nil {
			return
		}
		if _, err := sealLine(loss); err != nil {
			t.Errorf("%q is read and cannot be written: %v", line, err)
		}
	})
}

// TestQuarantine copies once, whatever is in the way, and gives other bytes another name.
func TestQuarantine(t *testing.T) {
	fsys := newLedgerFS(t)
	copyOf := func(text string) string {
		t.Helper()
		name, err := Quarantine(fsys, testDir, strings.NewReader(text), "s.seg", 2, 4)
		if err != nil {
			t.Fatal(err)
		}
		data, err := vfs.ReadFile(fsys, filepath.Join(testDir, name), 1<<20)
		if err != nil || string(data) != text[2:6] {
			t.Errorf("%s has %q, %v", name, data, err)
		}
		return name
	}
	first := copyOf("abcdefgh")
	if want := "quarantine/s.seg-2-4.bin"; first != want {
		t.Errorf("copied to %s, want %s", first, want)
	}
	if again := copyOf("xxcdefxx"); again != first {
		t.Errorf("the same bytes are copied to %s too", again)
	}
	if other := copyOf("abCDEFgh"); other == first {
		t.Errorf("other bytes replaced %s", first)
	}
	if n := len(quarantined(t, fsys)); n != 2 {
		t.Errorf("%d files", n)
	}
}
