//go:build !linux

package netns

import (
	"context"
	"errors"
	"net"
)

var errOnlyLinux = errors.New("network namespaces are of Linux; run this there")

// Listen is net.Listen in the namespace.
func (n *Namespace) Listen(string, string) (net.Listener, error) { return nil, errOnlyLinux }

// ListenPacket is net.ListenPacket in the namespace.
func (n *Namespace) ListenPacket(string, string) (net.PacketConn, error) { return nil, errOnlyLinux }

// Dial connects from the namespace.
func (n *Namespace) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errOnlyLinux
}
