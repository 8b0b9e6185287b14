package checkpoint

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// stores runs a test on every Store. reopen closes the store and opens what it left.
func stores(t *testing.T, test func(t *testing.T, s Store, reopen func(Store) Store)) {
	t.Run("memory", func(t *testing.T) {
		test(t, NewMemory(), func(s Store) Store { return s.(*Memory).Reopen() })
	})
	t.Run("bolt", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "checkpoints.db")
		b, problems, err := Open(path)
		must(t, err)
		if len(problems) != 1 || problems[0] != (Problem{What: Missing}) {
			t.Fatalf("problems of a new one are %v", problems)
		}
		test(t, b, func(s Store) Store {
			must(t, s.Close())
			return mustOpen(t, path)
		})
	})
}

// mustOpen opens a database that must have no problem, and closes it at the end of the test.
func mustOpen(t *testing.T, path string) *Bolt {
	t.Helper()
	b, problems, err := Open(path)
	must(t, err)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	t.Cleanup(func() { must(t, b.Close()) })
	return b
}

func wantValues(t *testing.T, s Store, want map[string]Position) {
	t.Helper()
	got, err := s.Load()
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("the store holds %+v, want %+v", got, want)
	}
}

func TestStoreKeepsPositions(t *testing.T) {
	stores(t, func(t *testing.T, s Store, reopen func(Store) Store) {
		wantValues(t, s, map[string]Position{})
		want := map[string]Position{Key("a"): full(), Key("b"): {Floor: 1}}
		must(t, s.Save(want))
		wantValues(t, s, want)
		s = reopen(s)
		wantValues(t, s, want)

		must(t, s.Save(map[string]Position{Key("b"): {Floor: 2}, Key("c"): {Floor: 5}}))
		want[Key("b")], want[Key("c")] = Position{Floor: 2}, Position{Floor: 5}
		wantValues(t, s, want)
		must(t, s.Save(nil))
		wantValues(t, reopen(s), want)
	})
}

func TestStoreNeverGoesBack(t *testing.T) {
	stores(t, func(t *testing.T, s Store, reopen func(Store) Store) {
		steps := []struct{ save, want Position }{
			{Position{Floor: 10}, Position{Floor: 10}},
			{Position{Floor: 9}, Position{Floor: 10}},
			{Position{Floor: 10, Done: []Range{{11, 12}}}, Position{Floor: 10, Done: []Range{{11, 12}}}},
			{Position{Floor: 12, State: []byte("x")}, Position{Floor: 12, State: []byte("x")}},
			{Position{Stream: 1, Floor: 3}, Position{Stream: 1, Floor: 3}},
			{Position{Floor: 100}, Position{Stream: 1, Floor: 3}},
		}
		for _, step := range steps {
			must(t, s.Save(map[string]Position{"k": step.save, "other": step.save}))
			wantValues(t, s, map[string]Position{"k": step.want, "other": step.want})
		}
		wantValues(t, reopen(s), map[string]Position{"k": steps[5].want, "other": steps[5].want})
	})
}

func TestStoreRefusesAllOrNothing(t *testing.T) {
	stores(t, func(t *testing.T, s Store, _ func(Store) Store) {
		must(t, s.Save(map[string]Position{"k": {Floor: 1}}))
		for _, key := range []string{"", strings.Repeat("k", maxKey+1), "bad"} {
			p := Position{Floor: 2}
			if key == "bad" {
				p.State = make([]byte, MaxState+1)
			}
			if err := s.Save(map[string]Position{"k": {Floor: 5}, key: p}); err == nil {
				t.Errorf("a key of %d bytes was saved", len(key))
			}
		}
		wantValues(t, s, map[string]Position{"k": {Floor: 1}})
		must(t, s.Save(map[string]Position{strings.Repeat("k", maxKey): {}}))
	})
}

func TestStoreSharesNothing(t *testing.T) {
	stores(t, func(t *testing.T, s Store, _ func(Store) Store) {
		p := full()
		must(t, s.Save(map[string]Position{"k": p}))
		p.Done[0], p.State[0] = Range{}, 'X'
		got, err := s.Load()
		must(t, err)
		got["k"].Done[0], got["k"].State[0] = Range{}, 'X'
		got["new"] = Position{}
		wantValues(t, s, map[string]Position{"k": full()})
	})
}

func TestClosedStore(t *testing.T) {
	stores(t, func(t *testing.T, s Store, _ func(Store) Store) {
		must(t, s.Close())
		must(t, s.Close())
		if err := s.Save(map[string]Position{"k": {}}); !errors.Is(err, ErrClosed) {
			t.Errorf("Save gives %v", err)
		}
		if _, err := s.Load(); !errors.Is(err, ErrClosed) {
			t.Errorf("Load gives %v", err)
		}
	})
}

func TestStoreIsSafeForConcurrentUse(t *testing.T) {
	stores(t, func(t *testing.T, s Store, reopen func(Store) Store) {
		want := make(map[string]Position)
		var wait sync.WaitGroup
		for i := range 4 {
			key := Key(fmt.Sprint(i))
			want[key] = Position{Floor: 20}
			wait.Go(func() {
				for floor := range uint64(21) {
					if err := s.Save(map[string]Position{key: {Floor: floor}}); err != nil {
						t.Error(err)
					}
					if _, err := s.Load(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		wantValues(t, reopen(s), want)
	})
}

// TestStoresAgree saves at random in both stores, reopening now and then, with few outputs and with many.
func TestStoresAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, outputs := range []int{1, 3, 300} {
		path := filepath.Join(t.TempDir(), "checkpoints.db")
		b, _, err := Open(path)
		must(t, err)
		var bolt, memory Store = b, NewMemory()
		for step := range 60 {
			save := make(map[string]Position)
			for range 1 + rng.IntN(min(outputs, 40)) {
				save[Key(fmt.Sprint(rng.IntN(outputs)))] = randomPosition(rng)
			}
			must(t, bolt.Save(save))
			must(t, memory.Save(maps.Clone(save)))
			want, err := memory.Load()
			must(t, err)
			if step%10 == 9 {
				must(t, bolt.Close())
				bolt, memory = mustOpen(t, path), memory.(*Memory).Reopen()
			}
			wantValues(t, bolt, want)
		}
		must(t, bolt.Close())
	}
}

// randomPosition is small as a rule, and now and then so large that it takes pages of its own.
func randomPosition(rng *rand.Rand) Position {
	p := Position{Stream: uint32(rng.IntN(2)), Floor: uint64(rng.IntN(1000))}
	ranges := rng.IntN(4)
	if rng.IntN(20) == 0 {
		ranges = MaxDone
	}
	from := p.Floor
	for range ranges {
		r := Range{First: from + rng.Uint64N(1<<20)}
		r.Last = r.First + rng.Uint64N(1<<20)
		p.Done = append(p.Done, r)
		from = r.Last + 1
	}
	for range rng.IntN(5) {
		p.State = append(p.State, byte(rng.IntN(256)))
	}
	return p
}
