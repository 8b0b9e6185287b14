// Package transport holds what network ends have in common, inputs and outputs alike: TLS and who may send.
package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLS is the table tls of a network end. In an input cert and key are required and ca asks clients for a certificate;
// in an output ca replaces the system's authorities and cert and key are shown to the peer. No key set: no TLS.
type TLS struct {
	Enabled    bool   `toml:"enabled" doc:"true: TLS with the system's authorities; any other key of tls says so too"`
	Cert       string `toml:"cert" doc:"PEM file with the certificate of this end, followed by its chain"`
	Key        string `toml:"key" doc:"PEM file with its private key"`
	CA         string `toml:"ca" doc:"PEM file with the authorities that the peer's certificate must come from; an input then demands one"`
	ServerName string `toml:"server_name" doc:"name that the peer's certificate must bear, instead of the one that is connected to (outputs)"`
}

// On tells whether TLS is asked for.
func (t TLS) On() bool { return t != TLS{} }

// CheckServer judges the keys of an input without opening a file. Its errors begin with the key that is wrong.
func (t TLS) CheckServer() error {
	switch {
	case !t.On():
		return nil
	case t.Cert == "" || t.Key == "":
		return errors.New(`tls needs a certificate to listen; name the PEM files with tls.cert and tls.key`)
	case t.ServerName != "":
		return errors.New(`tls.server_name is for outputs; remove it, tls.ca is what makes clients show a certificate`)
	}
	return nil
}

// CheckClient judges the keys of an output without opening a file. Its errors begin with the key that is wrong.
func (t TLS) CheckClient() error {
	if (t.Cert == "") != (t.Key == "") {
		return errors.New(`tls needs both or none of tls.cert and tls.key; name the missing PEM file`)
	}
	return nil
}

// Probe tells whether the files can be used: they can be read, and the key is that of the certificate. Its errors begin
// with the key that names the file.
func (t TLS) Probe() error {
	for _, file := range []struct{ key, name string }{{"tls.cert", t.Cert}, {"tls.key", t.Key}, {"tls.ca", t.CA}} {
		if file.name == "" {
			continue
		}
		if _, err := os.ReadFile(file.name); err != nil {
			return fmt.Errorf("%s cannot be read: %w; correct the file, or its name", file.key, err)
		}
	}
	if t.Cert != "" && t.Key != "" {
		if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
			return fmt.Errorf("tls.cert and tls.key cannot be used: %w; name PEM files of a certificate and of its key", err)
		}
	}
	if t.CA != "" {
		if _, err := authorities(t.CA); err != nil {
			return fmt.Errorf("tls.ca cannot be used: %w; name a PEM file with certificates", err)
		}
	}
	return nil
}

// Server returns the settings to listen with, nil where TLS is not asked for. Certificate files that change are read
// again within a second, so that a renewed certificate needs no restart. The error names the file.
func (t TLS) Server() (*tls.Config, error) {
	if !t.On() {
		return nil, nil
	}
	pair := &pair{cert: t.Cert, key: t.Key}
	if _, err := pair.get(); err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get() }}
	if t.CA != "" {
		pool, err := authorities(t.CA)
		if err != nil {
			return nil, err
		}
		c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// Client returns the settings to connect to host with, nil where TLS is not asked for. The error names the file.
func (t TLS) Client(host string) (*tls.Config, error) {
	if !t.On() {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.Cert != "" {
		pair := &pair{cert: t.Cert, key: t.Key}
		if _, err := pair.get(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.get() }
	}
	if t.CA != "" {
		pool, err := authorities(t.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	return c, nil
}

// authorities reads certificates from a PEM file.
func authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read tls.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read tls.ca: %s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// pair is a certificate and its key, read again when one of the files changes. Any number of goroutines may use it.
type pair struct {
	cert, key string

	mu struct { // guards:
		sync.Mutex
		looked time.Time
		stamp  [2]time.Time // of the files when they were read
		loaded *tls.Certificate
	}
}

// get returns the certificate. Files that cannot be read leave the one before in place.
func (p *pair) get() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.loaded != nil && time.Since(p.mu.looked) < time.Second {
		return p.mu.loaded, nil
	}
	p.mu.looked = time.Now()
	var stamp [2]time.Time
	for i, file := range []string{p.cert, p.key} {
		if info, err := os.Stat(file); err == nil {
			stamp[i] = info.ModTime()
		}
	}
	if p.mu.loaded != nil && stamp == p.mu.stamp {
		return p.mu.loaded, nil
	}
	fresh, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil && p.mu.loaded == nil {
		return nil, fmt.Errorf("read tls.cert and tls.key: %w", err)
	}
	if err == nil {
		p.mu.loaded, p.mu.stamp = &fresh, stamp
	}
	return p.mu.loaded, nil
}
