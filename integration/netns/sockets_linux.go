package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inside calls do on a thread that is in the namespace, where it can make sockets: they stay there.
func inside[T any](n *Namespace, do func() (T, error)) (T, error) {
	type outcome struct {
		made T
		err  error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and nobody else gets it
		var o outcome
		if o.err = enter(n.Name); o.err == nil {
			o.made, o.err = do()
		}
		done <- o
	}()
	o := <-done
	return o.made, o.err
}

func enter(name string) error {
	f, err := os.Open("/run/netns/" + name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	return nil
}

// Listen is net.Listen in the namespace.
func (n *Namespace) Listen(network, address string) (net.Listener, error) {
	return inside(n, func() (net.Listener, error) { return net.Listen(network, address) })
}

// ListenPacket is net.ListenPacket in the namespace.
func (n *Namespace) ListenPacket(network, address string) (net.PacketConn, error) {
	return inside(n, func() (net.PacketConn, error) { return net.ListenPacket(network, address) })
}

// Dial connects from the namespace.
func (n *Namespace) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return inside(n, func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, address) })
}
