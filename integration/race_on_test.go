//go:build race

package integration

// raceEnabled: the daemon is built with the race detector too, so that its memory and its speed say nothing.
const raceEnabled = true
