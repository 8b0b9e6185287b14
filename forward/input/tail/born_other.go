//go:build !linux

package tail

// bornAt is when a file was created; 0: nobody says.
func bornAt(string) int64 { return 0 }
