package torture

import (
	"fmt"
	"testing"

	"logmule/integration/rig"
)

// TestNothingDone: the laboratory itself loses nothing, before anything is done to the daemon.
func TestNothingDone(t *testing.T) {
	in, out := rig.OwnAddress(t), rig.OwnAddress(t)
	l := newLab(t, fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n[output.out]\ntype = \"http\"\nurl = \"http://%s/logs\"\n", in, out))
	destination := l.Judge.Destination("out")
	rig.StartHTTPSink(t, out, destination.Arrived)
	l.Start()
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.Judge.Source("client"), Limit: 1000}
	source.Run(t.Context())
	l.Drained(destination)
	l.Verdict(0)
}
