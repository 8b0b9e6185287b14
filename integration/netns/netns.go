// Package netns makes network namespaces: a machine of its own on the other end of a cable, whose packets can be dropped
// and whose cable can be pulled. It needs root, ip (iproute2) and nft (nftables), on Linux.
package netns

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Namespace is another machine as far as the network goes. Its name holds the id of the process that made it, so that the
// next one finds and removes what a killed process left behind.
type Namespace struct {
	Name  string
	Here  netip.Addr // this machine's address on the cable
	There netip.Addr // that of the namespace
	cable string     // this machine's end
}

// Way is what is dropped of the packets on the cable.
type Way int

// The ways.
const (
	None Way = iota
	To       // the namespace gets nothing
	From     // nothing of the namespace gets here
	Both
)

const prefix = "lm"

var (
	made     atomic.Int64
	choosing sync.Mutex // held from the choice of addresses until a cable has them: two that are made at once would choose the same
)

// Need says what this machine lacks for namespaces.
func Need() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root; run this as root")
	}
	for tool, pack := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("network namespaces need %s; install %s", tool, pack)
		}
	}
	return nil
}

// New makes a namespace with its cable. Before that it removes those of processes that are gone.
func New() (*Namespace, error) {
	if err := errors.Join(Need(), sweep()); err != nil {
		return nil, err
	}
	choosing.Lock()
	defer choosing.Unlock()
	number := made.Add(1)
	n := &Namespace{Name: fmt.Sprintf("%s-%d-%d", prefix, os.Getpid(), number), cable: fmt.Sprintf("%s%d.%d", prefix, os.Getpid(), number)}
	if err := n.address(); err != nil {
		return nil, err
	}
	far := n.cable + "p"
	err := run("ip", "netns", "add", n.Name)
	for _, line := range []string{
		"link add " + n.cable + " type veth peer name " + far + " netns " + n.Name,
		"addr add " + n.Here.String() + "/30 dev " + n.cable,
		"link set " + n.cable + " up",
		"-n " + n.Name + " addr add " + n.There.String() + "/30 dev " + far,
		"-n " + n.Name + " link set " + far + " up",
		"-n " + n.Name + " link set lo up",
	} {
		if err == nil {
			err = run("ip", strings.Fields(line)...)
		}
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// address picks a pair of addresses that this machine does not use, of those that are set aside for tests of networks.
func (n *Namespace) address() error {
	used, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	start := uint32(os.Getpid()) * 64
	for i := range uint32(1 << 15) {
		low := (start + i) % (1 << 15) * 4
		n.Here = netip.AddrFrom4([4]byte{198, byte(18 + low>>16), byte(low >> 8), byte(low + 1)})
		n.There = n.Here.Next()
		free := true
		for _, a := range used {
			p, err := netip.ParsePrefix(a.String())
			free = free && (err != nil || !p.Contains(n.Here))
		}
		if free {
			return nil
		}
	}
	return errors.New("no addresses are left for network namespaces; remove some with ip netns delete")
}

// Drop drops packets on their way over the cable, from now on: both ways or one, or none any more.
func (n *Namespace) Drop(way Way) error {
	policy := func(drop bool) string { return map[bool]string{true: "drop", false: "accept"}[drop] }
	rules := fmt.Sprintf(`table inet logmule
delete table inet logmule
table inet logmule {
	chain input { type filter hook input priority 0; policy %s; iif lo accept; }
	chain output { type filter hook output priority 0; policy %s; oif lo accept; }
}
`, policy(way == To || way == Both), policy(way == From || way == Both))
	cmd := exec.Command("ip", "netns", "exec", n.Name, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	return result(cmd)
}

// plugged is how long Link waits for a cable to carry.
const plugged = time.Minute

// Link pulls the cable out at this machine's end, or puts it in again, and returns when it carries: the kernel notices that later, on
// a machine with much to do by many seconds.
func (n *Namespace) Link(up bool) error {
	if err := run("ip", "link", "set", n.cable, map[bool]string{true: "up", false: "down"}[up]); err != nil || !up {
		return err
	}
	for until := time.Now().Add(plugged); ; time.Sleep(5 * time.Millisecond) {
		state, err := os.ReadFile("/sys/class/net/" + n.cable + "/operstate")
		if err == nil && strings.TrimSpace(string(state)) == "up" {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s does not carry, its state is %q: %v", n.cable, state, err)
		}
	}
}

// Forget makes the namespace forget all its TCP connections without a word to the other end, as a crash of the machine does.
func (n *Namespace) Forget() error {
	if err := n.Drop(Both); err != nil {
		return err
	}
	return run("ip", "netns", "exec", n.Name, "ss", "-K", "-t", "state", "connected")
}

// Close removes the namespace with its cable. Sockets in it go on without it.
func (n *Namespace) Close() error {
	return cmp.Or(remove(n.Name), unplug(n.cable))
}

func remove(name string) error {
	if _, err := os.Stat("/run/netns/" + name); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return run("ip", "netns", "delete", name)
}

// unplug removes a cable, which outlives its namespace while sockets are open there.
func unplug(cable string) error {
	if _, err := net.InterfaceByName(cable); err != nil {
		return nil
	}
	if err := run("ip", "link", "delete", cable); err != nil {
		if _, gone := net.InterfaceByName(cable); gone == nil {
			return err
		}
	}
	return nil
}

// sweep removes what processes left behind that are gone.
func sweep() error {
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var failed error
	for _, e := range entries {
		var pid, number int
		if _, err := fmt.Sscanf(e.Name(), prefix+"-%d-%d", &pid, &number); err == nil && gone(pid) {
			failed = cmp.Or(failed, remove(e.Name()))
		}
	}
	cables, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, c := range cables {
		var pid, number int
		if _, err := fmt.Sscanf(c.Name, prefix+"%d.%d", &pid, &number); err == nil && gone(pid) {
			failed = cmp.Or(failed, unplug(c.Name))
		}
	}
	return failed
}

// gone tells that no process has this id.
func gone(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return errors.Is(err, os.ErrNotExist)
}

func run(program string, args ...string) error { return result(exec.Command(program, args...)) }

func result(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
