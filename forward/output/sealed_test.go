package output

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// TestSealedBytesAreDelivered lets a batch be sealed as a whole while the socket takes only a part: Send must not return
// before the rest is with the peer.
func TestSealedBytesAreDelivered(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, 4096)
	ends, failed := make(chan *tls.Conn, 1), make(chan error, 1)
	go func() {
		conn, err := p.Accept()
		if err != nil {
			failed <- err
			return
		}
		end := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		failed <- end.Handshake()
		ends <- end
	}()
	o := newTestTCP(t, p, 0, time.Minute)
	conn, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).SetWriteBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if o.link, err = newLink(t.Context(), conn.(streamConn), &tls.Config{InsecureSkipVerify: true}, time.Minute, o.lost); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	end := <-ends
	defer end.Close()

	text := strings.Repeat("x", sealMost-1)
	received := make(chan int, 1)
	go func() {
		buf, got := make([]byte, 512), 0
		for got < len(text)+1 {
			n, err := end.Read(buf)
			if got += n; err != nil {
				break
			}
			time.Sleep(time.Millisecond) // so that the socket is empty between slices of time, and full at their ends
		}
		received <- got
	}()
	mustSend(t, o, batchOf("1", linesRun(text)))
	if o.link.sealed.pending() {
		t.Error("sealed bytes were left behind")
	}
	if got := <-received; got != len(text)+1 {
		t.Errorf("the peer has %d bytes of %d", got, len(text)+1)
	}
}
