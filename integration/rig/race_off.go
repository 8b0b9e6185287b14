//go:build !race

package rig

// RaceEnabled says that the daemon is built with the race detector too, so that its memory and its speed say nothing.
const RaceEnabled = false
