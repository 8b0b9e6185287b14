package recovery

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// storeMaker makes checkpoint databases on a file system in memory, of bytes that bbolt has made elsewhere.
func storeMaker(t testing.TB, fsys vfs.FS) func(string, map[string]checkpoint.Position) error {
	return func(path string, positions map[string]checkpoint.Position) error {
		return putFile(fsys, path, boltBytes(t, positions))
	}
}

// madeStores are the checkpoint databases that tests have had made, by their positions.
var madeStores sync.Map

// boltBytes is a checkpoint database.
func boltBytes(t testing.TB, positions map[string]checkpoint.Position) []byte {
	t.Helper()
	key := fmt.Sprint(positions)
	if data, ok := madeStores.Load(key); ok {
		return data.([]byte)
	}
	path := filepath.Join(t.TempDir(), "made")
	if err := checkpoint.Make(path, positions); err != nil {
		t.Fatal(err)
	}
	data, err := vfs.ReadFile(vfs.OS(), path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	madeStores.Store(key, data)
	return data
}

// putFile makes a durable file, but for its name.
func putFile(fsys vfs.FS, path string, data []byte) error {
	_ = fsys.Remove(path)
	f, err := fsys.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Sync()
}

// repairOn runs Repair on a file system in memory.
func repairOn(t testing.TB, fsys vfs.FS) (Report, error) {
	t.Helper()
	return Repair(context.Background(), fsys, testDir, RepairOptions{
		CheckOptions: CheckOptions{Workers: 1}, Holder: "test", MakeStore: storeMaker(t, fsys),
	})
}

func mustRepair(t testing.TB, fsys vfs.FS) Report {
	t.Helper()
	r, err := repairOn(t, fsys)
	if err != nil {
		t.Fatalf("repair: %v", err)
	}
	return r
}

// tree is every file of a file system, by name.
func tree(t testing.TB, fsys *faultfs.FS) map[string]string {
	t.Helper()
	all := map[string]string{}
	var walk func(dir string)
	walk = func(dir string) {
		infos, err := fsys.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			path := filepath.Join(dir, info.Name())
			if info.IsDir() {
				walk(path)
				continue
			}
			all[path] = string(contentOf(t, fsys, path))
		}
	}
	walk(testDir)
	return all
}

// differ names the files in which two trees are not alike.
func differ(a, b map[string]string) []string {
	var names []string
	for name := range a {
		if was, ok := b[name]; !ok || was != a[name] {
			names = append(names, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

// brokenQueue has one of each: healable damage (segment 0), unhealable damage (1), a lost trailer (2), a missing segment (3), a
// damaged unsealed one with a torn tail (5), and a damaged checkpoints.db.
func brokenQueue(t testing.TB) *builder {
	t.Helper()
	b := newBuilder(t)
	var many []int
	for range 60 {
		many = append(many, 3)
	}
	b.must(putFile(b.fs, filepath.Join(testDir, CheckpointFile), boltBytes(t, map[string]checkpoint.Position{checkpoint.Key("web"): {Floor: 7}})))
	b.must(b.fs.SyncDir(testDir))
	b.sealed(many...)
	b.sealed(many...)
	b.sealed(many...)
	b.sealed(many...)
	b.sealed(many...)
	b.open()
	b.full(b.at("web", 5), b.at("slow", 3))
	b.durable(many...)
	torn := b.w.End()
	b.records(4)
	b.close()
	b.must(syncFile(b.fs, b.path(5)))

	at := b.of(20)
	b.flip(0, at.offset+60)
	hit := b.of(200)
	b.zero(1, hit.offset, 3*(64<<10)/32)
	b.zero(2, b.sizeOf(2)-4096, 4096)
	b.remove(b.path(3))
	b.flip(5, b.of(930).offset+60)
	b.flip(5, torn+60)
	edit(t, b.fs, filepath.Join(testDir, CheckpointFile), func(data []byte) []byte {
		data[bytes.Index(data, []byte(checkpoint.Key("web")))] ^= 0xff
		return data
	})
	return b
}

func syncFile(fsys vfs.FS, path string) error {
	f, err := fsys.OpenWrite(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func TestRepair(t *testing.T) {
	b := brokenQueue(t)
	before := check(t, b.fs)
	if before.Clean {
		t.Fatal("nothing is wrong")
	}
	survive, identity := surviving(t, b.fs).String(), string(contentOf(t, b.fs, filepath.Join(testDir, identityFile)))
	r := mustRepair(t, b.fs)
	if got := string(contentOf(t, b.fs, filepath.Join(testDir, identityFile))); got != identity {
		t.Errorf("the repair was counted as a start: %s, was %s", got, identity)
	}
	if !r.Clean || !r.Repaired {
		t.Errorf("clean %v, repaired %v", r.Clean, r.Repaired)
	}
	if got := surviving(t, b.fs).String(); got != survive {
		t.Errorf("survivors %s, before %s", got, survive)
	}
	if after := check(t, b.fs); !after.Clean {
		t.Errorf("fsck after it: %+v", after.Damage)
	}
	was := tree(t, b.fs)
	again := mustRepair(t, b.fs)
	if !again.Clean || again.Repaired || len(again.Damage) > 0 {
		t.Errorf("second run: %+v", again)
	}
	if d := differ(was, tree(t, b.fs)); len(d) > 0 {
		t.Errorf("the second run has changed %v", d)
	}
	const told = "199-360 162 checksum yes 00000000000000000181-000000000000abfe.seg+4784\n" +
		"541-720 180 missing segment yes 00000000000000000541-000000000000abfc.seg+0\n" +
		"928-930 3 checksum yes 00000000000000000901-000000000000abfa.seg+5240"
	if got := toldIn(t, b.fs); got != told {
		t.Errorf("the ledger has\n%s\nwant\n%s", got, told)
	}
	lines := was[filepath.Join(testDir, ledgerFile)]
	state := mustStart(t, b.fs, map[string]uint64{"web": 7})
	if got := string(contentOf(t, b.fs, filepath.Join(testDir, ledgerFile))); got != lines {
		t.Errorf("the start writes into the ledger:\n%s", strings.TrimPrefix(got, lines))
	}
	if !state.Report.Clean {
		t.Errorf("the start: %+v", state.Report)
	}
}

// TestRepairByACopy: where nothing is left of a segment but a copy under another name, that takes its place, and what was there is not
// taken for what is there now, though it has the same size.
func TestRepairByACopy(t *testing.T) {
	b := newBuilder(t)
	b.sealed(10, 10)
	b.sealed(5)
	b.killed(5)
	was := contentOf(t, b.fs, b.path(0))
	b.must(vfs.WriteFile(b.fs, segmentPath(testDir, segment.Name{First: 3, Salt: 9}), was))
	edit(t, b.fs, b.path(0), func(data []byte) []byte { clear(data[1024:]); return data })
	if r := mustRepair(t, b.fs); !r.Clean || !r.Repaired {
		t.Errorf("%+v", r)
	}
	if !bytes.Equal(contentOf(t, b.fs, b.path(0)), was) {
		t.Error("the segment is not what it was")
	}
}

// TestRepairOf says what becomes of one damage after the other: what is left, what the report and the ledger say.
func TestRepairOf(t *testing.T) {
	for name, test := range map[string]struct {
		broken  func(t testing.TB) *builder
		survive string
		told    string
		actions string
	}{
		"two names swapped":         {brokenOnes["two names swapped"], "1-22", "", "renamed renamed"},
		"a torn tail":               {brokenOnes["a torn tail"], "1-18", "", ""},
		"no identity, and a header": {brokenOnes["no identity, and a header"], "1-18", "", "rebuilt"},
	} {
		t.Run(name, func(t *testing.T) {
			b := test.broken(t)
			r := mustRepair(t, b.fs)
			var actions []string
			for _, d := range r.Damage {
				actions = append(actions, d.Action)
			}
			if got := strings.Join(actions, " "); got != test.actions || !r.Clean || !r.Repaired {
				t.Errorf("%+v", r)
			}
			if got := surviving(t, b.fs).String(); got != test.survive {
				t.Errorf("%s survive, want %s", got, test.survive)
			}
			if got := toldIn(t, b.fs); got != test.told {
				t.Errorf("the ledger has %s, want %s", got, test.told)
			}
		})
	}
}

// TestRepairStore loses the checkpoint database in several ways. What plain fsck says of it is what the repair does.
func TestRepairStore(t *testing.T) {
	whole := map[string]checkpoint.Position{checkpoint.Key("web"): {Floor: 40}, checkpoint.Key("slow"): {Floor: 12}}
	database := filepath.Join(testDir, CheckpointFile)
	for name, test := range map[string]struct {
		hurt     func(b *builder)
		damaged  bool
		repaired bool
		floors   string
	}{
		"sound":   {func(b *builder) {}, false, false, "slow=12 web=40"},
		"missing": {func(b *builder) { b.remove(database) }, false, true, "slow=12 web=35"},
		"empty":   {func(b *builder) { edit(b.t, b.fs, database, func([]byte) []byte { return nil }) }, true, true, "slow=12 web=35"},
		"cut": {func(b *builder) {
			edit(b.t, b.fs, database, func(data []byte) []byte { return data[:4096+100] })
		}, true, true, "slow=12 web=35"},
		"one position hit": {func(b *builder) {
			edit(b.t, b.fs, database, func(data []byte) []byte { data[bytes.Index(data, []byte("out/slow"))+10] ^= 1; return data })
		}, true, true, "slow=12 web=40"},
		"no database at all": {func(b *builder) {
			edit(b.t, b.fs, database, func([]byte) []byte { return bytes.Repeat([]byte("noise"), 70000) })
		},
			true, true, "slow=12 web=35"},
		"a directory": {func(b *builder) {
			b.remove(database)
			b.must(b.fs.MkdirAll(database))
		}, true, true, "slow=12 web=35"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			b.must(putFile(b.fs, database, boltBytes(t, whole)))
			b.must(b.fs.SyncDir(testDir))
			b.sealed(10, 10)
			b.open()
			b.full(b.at("web", 35), b.at("slow", 12))
			b.durable(10, 10)
			b.seal()
			test.hurt(b)
			if r := check(t, b.fs); r.Clean == test.damaged {
				t.Errorf("fsck: %+v", r)
			}
			r := mustRepair(t, b.fs)
			if !r.Clean || r.Repaired != test.repaired || len(r.Damage) > 0 != test.damaged || r.LostRecords > 0 {
				t.Errorf("repair: %+v", r)
			}
			stored, findings, err := checkpoint.Examine(b.fs, database)
			if err != nil || len(findings) > 0 {
				t.Fatalf("the new one: %v, %v", findings, err)
			}
			floors := map[string]uint64{}
			for key, p := range stored {
				output, _ := checkpoint.OutputName(key)
				floors[output] = p.Floor
			}
			if test.damaged && (r.Damage[0].Segment != CheckpointFile || r.Damage[0].Action != didRebuild) {
				t.Errorf("the repair names %+v", r.Damage)
			}
			if got := floorsOf(b.outputs(floors)); got != test.floors {
				t.Errorf("positions %s, want %s", got, test.floors)
			}
			if r := check(t, b.fs); !r.Clean {
				t.Errorf("fsck after it: %+v", r)
			}
			if r := mustRepair(t, b.fs); r.Repaired || !r.Clean {
				t.Errorf("the second repair: %+v", r)
			}
			if state := mustStart(t, b.fs, floors); !state.Report.Clean || toldIn(t, b.fs) != "" {
				t.Errorf("the start: %+v, %s", state.Report, toldIn(t, b.fs))
			}
		})
	}
}

// outputs are positions with these floors.
func (b *builder) outputs(floors map[string]uint64) map[string]checkpoint.Position {
	all := map[string]checkpoint.Position{}
	for name, floor := range floors {
		all[name] = checkpoint.Position{Floor: floor}
	}
	return all
}
