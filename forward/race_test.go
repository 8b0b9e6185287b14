//go:build race

package forward

// raceEnabled: sync.Pool drops items on purpose under the race detector, so allocations cannot be counted.
const raceEnabled = true
