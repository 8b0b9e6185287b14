package match

import "unsafe"

// textOf is b as a string, without copying: it changes when b does. Nothing of an evaluation but its result is used
// after the call that it belongs to, and until then b stays as it is.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
