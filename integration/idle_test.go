package integration

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"logmule/integration/rig"
)

// childVariable makes the test binary a client in a process of its own: ADDRESS,COUNT opens that many connections,
// says so, and holds them until its input ends.
const childVariable = "LOGMULE_IDLE_CLIENT"

func runChild() int {
	var address string
	var count int
	if _, err := fmt.Sscanf(os.Getenv(childVariable), "%d,%s", &count, &address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	connections := make([]net.Conn, 0, count)
	for range count {
		c, err := net.Dial("tcp", address)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		connections = append(connections, c)
	}
	fmt.Println(len(connections))
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent closes it or ends
	for _, c := range connections {
		_ = c.Close()
	}
	return 0
}

func TestTenThousandIdleConnections(t *testing.T) {
	const count = 10_000
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Max < count+200 {
		t.Skipf("needs %d file descriptors for a process, the hard limit is %d", count+200, limit.Max)
	}
	in := freeAddress(t)
	l := newLab(t, "")
	d := l.judge.Destination("out")
	l.configure(fmt.Sprintf("[input.in]\ntype = \"tcp\"\nlisten = %q\n[output.out]\ntype = \"http\"\nurl = %q\n", in, httpSink(t, "127.0.0.1:0", d.Arrived).URL))
	l.start()
	before := l.footprint()

	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d,%s", childVariable, count, in))
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	must(t, err)
	stdout, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	if said, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || said != strconv.Itoa(count)+"\n" {
		t.Fatalf("the client said %q, %v", said, err)
	}
	l.wait("all connections are accepted", func() bool {
		fds, err := rig.Descriptors(l.Proc.PID())
		return err == nil && len(fds) >= count
	})
	// Among the idle ones a busy client is served as ever.
	source := l.judge.Source("busy")
	must(t, (&rig.TCPSource{Address: in, Source: source, Limit: 5000}).Run(t.Context()))
	source.Acknowledged(1, 5000)
	l.drained(d)
	l.verdict(0)
	now, peak, err := rig.Memory(l.Proc.PID())
	must(t, err)
	t.Logf("%d idle connections: %d MiB resident, %d at the peak", count, now>>20, peak>>20)
	if !raceEnabled && peak >= 200<<20 {
		t.Errorf("peak resident memory %d MiB, want less than 200", peak>>20)
	}
	must(t, stdin.Close())
	l.nothingLeaked(before)
}
