package recovery

import (
	"fmt"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

func value(key, v string) segment.Pair { return segment.Pair{Key: key, Value: []byte(v)} }

// positionTests are which positions a start believes.
var positionTests = []struct {
	name    string
	floors  map[string]uint64
	build   func(b *builder)
	outputs string
	others  string
}{
	{"a full set and what changed since", nil, func(b *builder) {
		b.open()
		b.full(b.at("a", 1), b.at("b", 1), value("s", "old"), value("gone", "x"))
		b.sourced(5, "s", "new")
		b.delta(b.at("a", 4), segment.Pair{Key: "gone"})
		b.sync()
		b.close()
	}, "a=4 b=1", "map[s:new]"},
	{"a full set replaces what older segments knew", nil, func(b *builder) {
		b.open()
		b.full(b.at("old", 1), value("s", "old"))
		b.durable(5)
		b.seal()
		b.open()
		b.full(b.at("a", 2))
		b.durable(5)
		b.close()
	}, "a=2", "map[]"},
	{"an incomplete set is ignored, the older one counts", nil, func(b *builder) {
		b.open()
		b.full(b.at("a", 3), value("s", "old"))
		b.durable(5)
		b.seal()
		b.open()
		b.positions(segment.Positions{Full: true, Part: 0, Parts: 2, Pairs: []segment.Pair{b.at("a", 1)}})
		b.delta(b.at("b", 2))
		b.durable(5)
		b.close()
	}, "a=3 b=2", "map[s:old]"},
	{"a set in parts, with changes between", nil, func(b *builder) {
		b.open()
		b.positions(segment.Positions{Full: true, Part: 0, Parts: 2, Pairs: []segment.Pair{b.at("a", 1), value("s", "1")}})
		b.sourced(2, "s", "2")
		b.positions(segment.Positions{Full: true, Part: 1, Parts: 2, Pairs: []segment.Pair{b.at("b", 1)}})
		b.sync()
		b.close()
	}, "a=1 b=1", "map[s:2]"},
	{"a damaged set costs only itself", nil, func(b *builder) {
		b.open()
		b.full(b.at("a", 2))
		b.durable(3)
		b.seal()
		b.open()
		b.full(b.at("a", 4))
		b.durable(3)
		b.close()
		b.flip(1, segment.HeaderSize+60)
	}, "a=2", "map[]"},
	{"the newer of store and log", map[string]uint64{"a": 2, "b": 4, "c": 1}, func(b *builder) {
		b.open()
		b.durable(5)
		b.full(b.at("a", 3), b.at("b", 3))
		b.sync()
		b.close()
	}, "a=3 b=4 c=1", "map[]"},
	{"empty leftovers have the newest", nil, func(b *builder) {
		b.open()
		b.full(b.at("a", 1))
		b.durable(5)
		b.seal()
		b.start()
		b.open()
		b.full(b.at("a", 4))
		b.sync()
		b.close()
		b.start()
		b.killed()
	}, "a=4", "map[]"},
	{"an output's value that cannot be read", nil, func(b *builder) {
		b.open()
		b.durable(5)
		b.full(b.at("a", 2), value("out/b", "no position"))
		b.close()
	}, "a=2", "map[]"},
	{"a source's frames behind a hole that nobody was told of", nil, func(b *builder) {
		b.open()
		b.sourced(5, "s", "5")
		b.sync()
		b.sourced(5, "s", "10")
		b.sourced(5, "s", "15")
		b.close()
		b.flip(0, b.of(6).offset)
	}, "", "map[s:5]"},
	{"a source's frames behind a hole that was acknowledged", map[string]uint64{"a": 11}, func(b *builder) {
		b.open()
		b.sourced(5, "s", "5")
		b.sourced(5, "s", "10")
		b.sourced(5, "s", "15")
		b.close()
		b.flip(0, b.of(6).offset)
	}, "a=11", "map[s:15]"},
}

func TestPositions(t *testing.T) {
	for _, test := range positionTests {
		t.Run(test.name, func(t *testing.T) {
			b := newBuilder(t)
			test.build(b)
			state := mustStart(t, b.fs, test.floors)
			others := make(map[string]string)
			for key, v := range state.Positions {
				others[key] = string(v)
			}
			if got := floorsOf(state.Outputs); got != test.outputs || fmt.Sprint(others) != test.others {
				t.Errorf("outputs %q, others %v; want %q, %v", got, others, test.outputs, test.others)
			}
		})
	}
}

// TestProven: done checkpoint.Ranges above the floor were durable too.
func TestProven(t *testing.T) {
	b := newBuilder(t)
	b.killed(5)
	store := checkpoint.NewMemory()
	b.must(store.Save(map[string]checkpoint.Position{
		checkpoint.Key("a"): {Floor: 3, Done: []checkpoint.Range{{First: 8, Last: 9}}},
		"not an output":     {Floor: 900},
	}))
	state, err := Start(b.fs, testDir, store, Options{})
	if err != nil || state.Next != 10 || len(state.Outputs) != 1 {
		t.Fatalf("%v, %+v", err, state)
	}
	if yes, no := ledgered(t, b.fs); yes.String() != "6-9" || len(no) > 0 {
		t.Errorf("lost %v and %v", yes, no)
	}
	if got := state.Report.Outputs; len(got) != 1 || got[0].Position != 3 || got[0].Backlog != 3 {
		t.Errorf("outputs %+v", got)
	}
	if n := backlog(checkpoint.Position{Floor: 3, Done: []checkpoint.Range{{First: 5, Last: 6}, {First: 9, Last: 30}}}, 4, 10); n != 3 {
		t.Errorf("a backlog of %d, want that of 4, 7 and 8", n)
	}
}
