package recovery

import (
	"testing"
)

// want is what a start makes of a directory.
type want struct {
	survive string // sequences that Walk still shows
	yes, no string // lost sequences in the ledger, acknowledged or not
	next    uint64
	torn    bool // torn bytes were counted
	damage  int  // findings that are no normal trace of a crash
	empty   int  // segments left for the queue to delete
	copies  int  // files in quarantine
}

// startTests is what a crash or a failing disk can leave in the newest segments.
var startTests = []struct {
	name   string
	floors map[string]uint64
	build  func(b *builder)
	want   want
}{
	{"nothing", nil, func(b *builder) {}, want{next: 1}},
	{"clean stop", nil, func(b *builder) {
		b.sealed(5, 5)
	}, want{survive: "1-10", next: 11}},
	{"killed", nil, func(b *builder) {
		b.sealed(5, 5)
		b.killed(4, 3)
	}, want{survive: "1-17", next: 18}},
	{"killed between roll and seal", nil, func(b *builder) {
		b.killed(5, 5)
		b.killed(4)
	}, want{survive: "1-14", next: 15}},
	{"space reserved ahead", nil, func(b *builder) {
		b.open()
		b.durable(5)
		b.allocate(20000)
		b.close()
	}, want{survive: "1-5", next: 6}},
	{"torn tail", nil, func(b *builder) {
		b.killed(5, 5)
		b.append(0, "half a frame")
	}, want{survive: "1-10", next: 11, torn: true, copies: 1}},
	{"torn tail before reserved space", nil, func(b *builder) {
		b.open()
		b.durable(5)
		b.records(3)
		b.allocate(9000)
		b.close()
		b.zero(0, b.of(6).offset+64, b.of(6).size)
	}, want{survive: "1-5", next: 6, torn: true, copies: 1}},
	{"hole below the mark", nil, func(b *builder) {
		b.killed(5, 5, 5)
		b.flip(0, b.of(7).offset+60)
	}, want{survive: "1-5 11-15", yes: "6-10", next: 16, damage: 1, copies: 1}},
	{"hole beyond the mark", nil, func(b *builder) {
		b.open()
		b.durable(5)
		b.records(5)
		b.records(5)
		b.close()
		b.flip(0, b.of(7).offset)
	}, want{survive: "1-5 11-15", no: "6-10", next: 16, torn: true, copies: 1}},
	{"hole across the mark", nil, func(b *builder) {
		b.open()
		b.durable(5, 5)
		b.records(5)
		b.records(1)
		b.close()
		b.zero(0, b.of(6).offset, b.of(16).offset-b.of(6).offset)
	}, want{survive: "1-5 16-16", next: 17, yes: "6-10", no: "11-15", damage: 1}},
	{"last durable frame bad", nil, func(b *builder) {
		b.open()
		b.durable(5)
		b.records(5)
		b.sync()
		b.marker()
		b.close()
		b.flip(0, b.of(6).offset+20)
	}, want{survive: "1-5", yes: "6-10", next: 11, damage: 1, copies: 1}},
	{"durable tail cut off, as a floor proves", map[string]uint64{"a": 9}, func(b *builder) {
		b.open()
		b.records(5)
		b.records(5)
		b.close()
		b.truncate(0, b.of(6).offset)
	}, want{survive: "1-5", yes: "6-8", next: 9, damage: 1}},
	{"newest segment lost", map[string]uint64{"a": 13}, func(b *builder) {
		b.sealed(5, 5)
		b.killed(5)
		b.remove(b.path(1))
	}, want{survive: "1-10", yes: "11-12", next: 13, damage: 1}},
	{"all segments lost", map[string]uint64{"a": 3, "b": 13}, func(b *builder) {
		b.killed(15)
		b.remove(b.path(0))
	}, want{yes: "3-12", next: 13, damage: 1}},
	{"middle segment lost", nil, func(b *builder) {
		b.sealed(5)
		b.sealed(5)
		b.killed(5)
		b.remove(b.path(1))
	}, want{survive: "1-5 11-15", yes: "6-10", next: 16, damage: 1}},
	{"superseded frames", nil, func(b *builder) {
		b.open()
		b.durable(5)
		b.records(5) // the sync of these failed
		b.close()
		b.next = 6
		b.killed(3)
	}, want{survive: "1-8", next: 11, no: "9-10", copies: 1}},
	{"nothing but superseded frames", nil, func(b *builder) {
		b.sealed(5)
		b.open()
		b.records(5)
		b.close()
		b.next = 6
		b.killed(7)
	}, want{survive: "1-12", next: 13, empty: 1, copies: 1}},
	{"given up time and again", nil, func(b *builder) {
		b.sealed(5)
		for range 3 {
			b.open()
			b.records(5)
			b.close()
			b.next = 6
		}
		b.killed(7)
	}, want{survive: "1-12", next: 13, empty: 3, copies: 3}},
	{"holes among superseded frames", nil, func(b *builder) {
		b.open()
		b.durable(5)
		for range 4 {
			b.records(5)
		}
		b.close()
		b.flip(0, b.of(6).offset)
		b.flip(0, b.of(16).offset)
		b.append(0, "torn")
		b.next = 6
		b.killed(20)
	}, want{survive: "1-25", next: 26, copies: 1}},
	{"hole before superseded frames", nil, func(b *builder) {
		b.open()
		b.durable(5, 5)
		b.records(5)
		b.close()
		b.zero(0, b.of(6).offset, b.of(11).offset-b.of(6).offset)
		b.next = 11
		b.killed(5)
	}, want{survive: "1-5 11-15", next: 16, yes: "6-10", damage: 1, copies: 1}},
	{"holes of both kinds", nil, func(b *builder) {
		b.open()
		b.durable(5, 5, 5)
		b.full(b.at("a", 3))
		b.durable(5)
		b.close()
		b.flip(0, b.of(7).offset)
		b.flip(0, b.of(16).offset-10)
	}, want{survive: "1-5 11-20", next: 21, yes: "6-10", damage: 2, copies: 2}},
	{"empty leftovers", nil, func(b *builder) {
		b.killed(5)
		for range 3 {
			b.start()
			b.killed()
		}
	}, want{survive: "1-5", next: 6, empty: 3}},
	{"file without a byte", nil, func(b *builder) {
		b.killed(5)
		b.killed()
		b.truncate(1, 0)
	}, want{survive: "1-5", next: 6, empty: 1}},
	{"file of zeros", nil, func(b *builder) {
		b.killed(5)
		b.killed()
		b.zero(1, 0, 1<<20)
	}, want{survive: "1-5", next: 6, empty: 1}},
	{"file of anything", nil, func(b *builder) {
		b.killed(5)
		b.killed()
		edit(b.t, b.fs, b.path(1), func([]byte) []byte { return []byte("this is no segment at all") })
	}, want{survive: "1-5", next: 6, empty: 1, torn: true, copies: 1}},
	{"header zeroed", nil, func(b *builder) {
		b.killed(5)
		b.killed(5)
		b.zero(1, 0, 4096)
	}, want{survive: "1-10", next: 11, damage: 1, copies: 1}},
	{"header of the sealed one zeroed", nil, func(b *builder) {
		b.sealed(5)
		b.killed(5)
		b.zero(0, 0, 4096)
	}, want{survive: "1-10", next: 11, damage: 1, copies: 1}},
	{"frame of the sealed one", nil, func(b *builder) {
		b.sealed(5)
		b.killed(5)
		b.flip(0, b.of(2).offset+70)
	}, want{survive: "1-10", next: 11, damage: 1, copies: 1}},
	{"trailer zeroed", nil, func(b *builder) {
		b.sealed(5)
		b.zero(0, b.sizeOf(0)-4096, 4096)
	}, want{survive: "1-5", next: 6}},
	{"trailer hit", nil, func(b *builder) {
		b.sealed(5)
		b.flip(0, b.sizeOf(0)-4000)
	}, want{survive: "1-5", next: 6, torn: true, copies: 1}},
	{"bytes behind the trailer", nil, func(b *builder) {
		b.sealed(5)
		b.append(0, "more bytes than there should be")
	}, want{survive: "1-5", next: 6, damage: 1, copies: 1}},
	{"sequences given up", nil, func(b *builder) {
		b.open()
		b.durable(5)
		b.gap(4)
		b.durable(5)
		b.close()
	}, want{survive: "1-5 10-14", next: 15}},
}

func TestStartDamage(t *testing.T) {
	for _, test := range startTests {
		t.Run(test.name, func(t *testing.T) {
			b := newBuilder(t)
			test.build(b)
			state := mustStart(t, b.fs, test.floors)
			yes, no := ledgered(t, b.fs)
			got := want{
				survive: surviving(t, b.fs).String(), yes: yes.String(), no: no.String(), next: state.Next,
				torn: state.Report.TornTailBytes > 0, damage: len(state.Report.Damage), empty: len(state.Empty),
				copies: len(quarantined(t, b.fs)),
			}
			if got != test.want {
				t.Errorf("got  %+v\nwant %+v\nreport %+v", got, test.want, state.Report)
			}
			if clean := got.damage == 0; state.Report.Clean != clean {
				t.Errorf("clean is %t with %d findings", state.Report.Clean, got.damage)
			}
		})
	}
}
