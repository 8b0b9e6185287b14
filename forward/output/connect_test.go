package output_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"logmule/forward/output"
	"logmule/forward/output/outputtest"
)

// TestConnectError: what fails before there is a connection says so, to those who space the attempts.
func TestConnectError(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // its kernel connects, and nobody shakes hands
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	nobody.Close()
	for name, c := range map[string]struct{ kind, keys, says string }{
		"tcp":            {"tcp", fmt.Sprintf("address = %q\n", nobody.Addr()), "connection refused"},
		"http":           {"http", fmt.Sprintf("url = \"http://%s/\"\n", nobody.Addr()), "connection refused"},
		"tcp, handshake": {"tcp", fmt.Sprintf("address = %q\ntimeout = \"1s\"\ntls.enabled = true\n", silent.Addr()), "TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			o := build(t, c.kind, c.keys)
			err := o.Send(t.Context(), outputtest.Batch("1", outputtest.Lines("one")))
			none, ok := errors.AsType[*output.ConnectError](err)
			if !ok || none.Took <= 0 || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, %+v", err, none)
			}
		})
	}
}
