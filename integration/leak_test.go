package integration

import (
	"slices"
	"strings"

	"logmule/integration/rig"
)

// footprint is what a process holds that it must give back.
type footprint struct {
	goroutines int
	sockets    int
}

func (l *lab) footprint() footprint {
	l.t.Helper()
	goroutines, _, err := l.Proc.Goroutines()
	must(l.t, err)
	fds, err := rig.Descriptors(l.Proc.PID())
	must(l.t, err)
	fds = slices.DeleteFunc(fds, func(f string) bool { return !strings.HasPrefix(f, "socket:") })
	return footprint{goroutines, len(fds)}
}

// slack: an idle keep-alive connection of an output, which is a socket and two goroutines.
var slack = footprint{goroutines: 4, sockets: 2}

// nothingLeaked waits until the daemon holds no more than before.
func (l *lab) nothingLeaked(before footprint) {
	l.t.Helper()
	var now footprint
	err := rig.Wait(patience, "goroutines and sockets are given back", func() bool {
		now = l.footprint()
		return now.goroutines <= before.goroutines+slack.goroutines && now.sockets <= before.sockets+slack.sockets
	})
	if err != nil {
		_, profile, _ := l.Proc.Goroutines()
		l.t.Errorf("%v: %+v before, %+v now\n%s", err, before, now, profile)
	}
}
