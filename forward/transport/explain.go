package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// Explain says of an error of a TLS client what to do about it. It returns any other error as it is.
func Explain(err error) error {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		op      *net.OpError
	)
	what := ""
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		what = "certificate signed by unknown authority; name the authority's file with tls.ca"
	case errors.As(err, &host):
		what = host.Error() + "; name the machine as its certificate does, or say that name with tls.server_name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		what = invalid.Error() + "; renew it, or set the clock of this machine"
	case errors.As(err, &invalid):
		what = invalid.Error() + "; the peer needs another one"
	case errors.As(err, &record):
		what = "the peer does not speak TLS; remove the tls keys, or connect to its port for TLS"
	case errors.As(err, &alert):
		what = "the peer ended TLS: " + alert.Error() + "; its log says why"
	case errors.As(err, &op) && op.Op == "remote error":
		what = refusal(op.Err.Error())
	default:
		return err
	}
	return &explained{what: what, err: err}
}

// refusal explains an alert of the peer.
func refusal(alert string) string {
	what := "the peer refuses: " + alert
	switch {
	case strings.Contains(alert, "certificate"):
		return what + "; show a certificate that it takes with tls.cert and tls.key"
	case strings.Contains(alert, "handshake failure"):
		return what + "; it may want a certificate, named with tls.cert and tls.key, or other versions of TLS"
	}
	return what + "; its log says why"
}

// ExplainHandshake is Explain for an error of the handshake: a peer that is no TLS server may close the connection, or
// wait for more, instead of answering.
func ExplainHandshake(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("TLS handshake: the peer closed the connection (%w); is this its port for TLS?", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("TLS handshake: no answer in time (%w); is this the peer's port for TLS?", err)
	}
	return fmt.Errorf("TLS handshake: %w", Explain(err))
}

// explained is an error with a text that says more.
type explained struct {
	what string
	err  error
}

// Error is the better text.
func (e *explained) Error() string { return e.what }

// Unwrap returns the error that is explained.
func (e *explained) Unwrap() error { return e.err }
