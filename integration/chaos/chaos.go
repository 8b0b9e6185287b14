// Package chaos hurts connections: a proxy for TCP and unix stream sockets that delays, slices, stalls, cuts and resets what
// goes through it (Proxy), servers that behave badly (Peer), and clients that do (Talk and Storm).
//
// What is hurt is decided by the test, at any time and also for connections that are open; nothing happens by chance but
// the jitter, which a seed repeats.
package chaos

import "time"

// Way is one of the two ways through a connection.
type Way int

// The ways.
const (
	Up   Way = iota // from the client to the server
	Down            // from the server to the client
)

func (w Way) String() string { return [...]string{Up: "up", Down: "down"}[w] }

// Ending is what happens to a connection when enough bytes have gone one way.
type Ending int

// The endings.
const (
	Pass      Ending = iota // nothing: the bytes go on
	Reset                   // RST at both ends, with all that was still on its way; a unix socket has no RST and is closed
	Cut                     // an orderly end at both ends, in both ways
	HalfClose               // an orderly end this way, whose later bytes are thrown away; the other way goes on
	Stall                   // nothing more is taken or given this way; the connection stays
	Swallow                 // all that comes this way is taken and thrown away, for ever; the connection stays
)

// Faults is what happens to the bytes of one way. The zero value lets them through as they come.
type Faults struct {
	Latency   time.Duration // every byte comes that much later
	Jitter    time.Duration // and up to that much more; the order of bytes stays
	Bandwidth int           // bytes a second; 0: any
	Slice     int           // bytes of the largest write; 0: any
	Gap       time.Duration // after each write
	Linger    time.Duration // from the end of this way until the other end hears of it
	Then      Ending        // what happens once After bytes have passed this way on a connection
	After     int64
}
