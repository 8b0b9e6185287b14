package tail

import (
	"runtime"
	"syscall"
	"testing"
)

// asNobody does something with the rights that a user without any has.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	if syscall.Geteuid() != 0 {
		do()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	must(t, syscall.Setfsuid(65534))
	defer syscall.Setfsuid(0)
	do()
}
