package output

import (
	"time"

	"logmule/forward/codec"
	"logmule/forward/config"
)

// mostUDP is the largest payload of a datagram over IPv4, in bytes.
const mostUDP config.Bytes = 65507

type udpKeys struct {
	Address string `toml:"address" doc:"HOST:PORT of the peer"`
	datagramKeys
}

// newUDP makes an output that sends each record as one datagram. Nothing acknowledges those.
func newUDP(decode func(into any) error, env Env) (Output, error) {
	c := udpKeys{datagramKeys: datagramKeys{Codec: codec.Plain, MaxRecord: mostUDP, Timeout: config.Duration(10 * time.Second)}}
	if err := decode(&c); err != nil {
		return nil, err
	}
	if _, err := checkAddress(c.Address, "127.0.0.1:514"); err != nil {
		return nil, err
	}
	if c.MaxRecord < 1 || c.MaxRecord > mostUDP {
		return nil, errMaxDatagram(c.MaxRecord)
	}
	return newDatagrams(env, c.datagramKeys, "udp", c.Address)
}
