package output

import (
	"fmt"
	"net"
)

type tcpKeys struct {
	Address string `toml:"address" doc:"HOST:PORT of the peer"`
	streamKeys
}

// newTCP makes a stream to a peer that may be far away.
func newTCP(decode func(into any) error, env Env) (Output, error) {
	c := tcpKeys{streamKeys: defaultStreamKeys()}
	if err := decode(&c); err != nil {
		return nil, err
	}
	host, err := checkAddress(c.Address, "127.0.0.1:5150")
	if err != nil {
		return nil, err
	}
	s, err := newStream(env, c.streamKeys)
	if err != nil {
		return nil, err
	}
	s.network, s.address, s.host = "tcp", c.Address, host
	return s, nil
}

// checkAddress judges the key address and returns the host in it.
func checkAddress(address, example string) (host string, err error) {
	host, port, err := net.SplitHostPort(address)
	switch {
	case address == "":
		return "", fmt.Errorf(`address is missing; add the peer's, such as address = "%s"`, example)
	case err != nil || port == "":
		return "", fmt.Errorf(`address = %q is no address; write HOST:PORT, such as "%s"`, address, example)
	}
	return host, nil
}
