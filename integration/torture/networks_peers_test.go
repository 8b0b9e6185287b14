package torture

import (
	"crypto/tls"
	"testing"
	"time"

	"logmule/integration/chaos"
	"logmule/integration/rig"
)

// notAnswered is why a bad answer does nothing to some outputs.
const notAnswered = "the output waits for no answer"

// turned lets all new connections go to a bad peer, which ends with the fault.
func turned(t *testing.T, name string, behave func(v *victim) (chaos.Behaviour, string)) netFault {
	peers := map[*victim]*chaos.Peer{}
	return netFault{
		name:  name,
		loses: beyondResend,
		begin: func(v *victim) string {
			b, cannot := behave(v)
			if cannot != "" {
				return cannot
			}
			peer, err := chaos.StartPeer("127.0.0.1:0", b, v.store)
			must(t, err)
			peers[v] = peer
			v.proxy.To(peer.Address())
			v.proxy.Reset()
			return ""
		},
		end: func(v *victim) {
			v.proxy.To(v.target)
			v.proxy.Reset()
			peers[v].Close()
		},
	}
}

// always is a behaviour for every kind, inside TLS where there is some.
func always(b chaos.Behaviour, settings *tls.Config) func(*victim) (chaos.Behaviour, string) {
	return func(v *victim) (chaos.Behaviour, string) {
		if v.secure {
			return chaos.Secured(settings, b), ""
		}
		return b, ""
	}
}

// answering is one that only shows where answers are waited for.
func answering(b chaos.Behaviour, settings *tls.Config) func(*victim) (chaos.Behaviour, string) {
	return func(v *victim) (chaos.Behaviour, string) {
		if !v.keyed() {
			return nil, notAnswered
		}
		return always(b, settings)(v)
	}
}

// handshaking is one that hurts the TLS handshake.
func handshaking(b chaos.Behaviour) func(*victim) (chaos.Behaviour, string) {
	return func(v *victim) (chaos.Behaviour, string) {
		if !v.secure {
			return nil, "there is no TLS"
		}
		return b, ""
	}
}

func serverTLS(t *testing.T, c rig.Certificates) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	must(t, err)
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// TestNetworksPeers puts peers that behave badly in the place of the good ones.
func TestNetworksPeers(t *testing.T) {
	beyondSmoke(t)
	t.Parallel()
	n, certificates := proxied(t, false)
	good := serverTLS(t, certificates)
	strange, err := rig.NewCertificates(t.TempDir())
	must(t, err)
	faults := []netFault{
		turned(t, "the peer accepts and never reads", always(chaos.Deaf, good)),
		turned(t, "the peer answers 200 and closes", answering(chaos.AnswerAndClose, good)),
		turned(t, "the peer closes as the next request comes", answering(chaos.CloseAsNext, good)),
		turned(t, "the peer reads and never answers", answering(chaos.Mute, good)),
		turned(t, "the peer answers half a header, then nothing", answering(chaos.HalfAnswer, good)),
		turned(t, "the peer answers 200 and half a body, then resets", answering(chaos.HalfBody, good)),
		turned(t, "the peer answers garbage", answering(chaos.Garbage, good)),
		turned(t, "the peer answers 200, and then says more", answering(chaos.Unasked, good)),
		turned(t, "the peer answers 200 before it has the body", answering(chaos.EarlyAnswer, good)),
		turned(t, "the peer chatters and throws away what it reads", always(chaos.Chatter, good)),
		turned(t, "the peer resets at the first byte", always(chaos.Slam, good)),
		turned(t, "the TLS handshake stalls", handshaking(chaos.Mute)),
		turned(t, "the TLS handshake is reset in its middle", handshaking(chaos.Slam)),
		turned(t, "a certificate of a strange authority", handshaking(chaos.Secured(serverTLS(t, strange), chaos.Mute))),
	}
	for _, f := range faults {
		n.hurt(t, f, by(0, 1000*time.Millisecond, 15*time.Second))
	}
}
