package output

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"logmule/forward/codec"
	"logmule/forward/config"
	"logmule/forward/transport"
)

type httpConfig struct {
	URL         string            `toml:"url" doc:"where to POST, http:// or https://; a user and password in it are sent as basic authentication; needed"`
	Timeout     config.Duration   `toml:"timeout" doc:"how long a request may stand still: nothing more of it is taken, and no answer comes"`
	MaxBatch    config.Bytes      `toml:"max_batch" doc:"most bytes of records in a request, before compression; a larger single record has one of its own"`
	Codec       string            `toml:"codec" doc:"what a record looks like: \"plain\" (its payload), \"syslog\" (RFC 5424) or \"syslog-3164\""`
	Compression string            `toml:"compression" doc:"of bodies: \"none\", \"gzip\", \"zstd\" or \"snappy\" (one block)"`
	Headers     map[string]string `toml:"headers" doc:"headers to send besides, { \"X-Scope\" = \"a\" }; Content-Type and User-Agent can be replaced too"`
	HTTP2       bool              `toml:"http2" doc:"true: HTTP/2, over https where the destination offers it, over http without asking; it helps where something on the way wants it, a request at a time is no faster"`
	Insecure    bool              `toml:"insecure" doc:"true: send credentials to another machine in the clear"`
	TLS         transport.TLS     `toml:"tls" doc:"how to know an https destination, and what to show it"`
	transport.Credentials
}

func newHTTPConfig() *httpConfig {
	return &httpConfig{Timeout: config.Duration(10 * time.Second), MaxBatch: 1 << 20, Codec: codec.Plain, Compression: "none"}
}

// check judges the keys and returns what became of the URL.
func (c *httpConfig) check() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		return nil, errors.New(`url is missing; add the destination's, such as url = "http://127.0.0.1:9000/logs"`)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New(`url is not that of a web server; write one such as "http://127.0.0.1:9000/logs"`)
	case c.Timeout < config.Duration(time.Millisecond):
		return nil, fmt.Errorf(`timeout = "%v" is too short; write a duration of at least 1ms, such as "10s"`, c.Timeout)
	case c.MaxBatch < 1 || c.MaxBatch > mostBytes:
		return nil, fmt.Errorf(`max_batch = "%v" is out of range; write from 1B to %v`, c.MaxBatch, mostBytes)
	case c.TLS.On() && u.Scheme != "https":
		return nil, errors.New(`tls is for https; write url = "https://..."`)
	case u.User != nil && c.Credentials.On():
		return nil, errors.New(`url has credentials, and so do the other keys; keep one of them`)
	}
	if err := c.TLS.CheckClient(); err != nil {
		return nil, err
	}
	if err := c.Credentials.Check(); err != nil {
		return nil, err
	}
	if err := c.checkHeaders(c.authorization(u) != ""); err != nil {
		return nil, err
	}
	if c.inTheClear(u) && !c.Insecure {
		return nil, fmt.Errorf("url would carry the credentials to %s in the clear; use https, or add insecure = true", u.Host)
	}
	return u, nil
}

// authorization is the header that the keys and the URL ask for, empty for none.
func (c *httpConfig) authorization(u *url.URL) string {
	if u.User == nil {
		return c.Credentials.Header()
	}
	password, _ := u.User.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
}

// header returns what every request says.
func (c *httpConfig) header(u *url.URL) http.Header {
	h := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "User-Agent": {"logmule"}}
	if secret := c.authorization(u); secret != "" {
		h.Set("Authorization", secret)
	}
	for name, value := range c.Headers {
		h.Set(name, value)
	}
	return h
}

// inTheClear tells whether others could read credentials on the way.
func (c *httpConfig) inTheClear(u *url.URL) bool {
	secret := c.authorization(u) != ""
	for name := range c.Headers {
		secret = secret || http.CanonicalHeaderKey(name) == "Authorization"
	}
	return secret && u.Scheme == "http" && !transport.IsLoopback(u.Hostname())
}

// ownHeaders are those that a request cannot do without and that say what the output knows better.
var ownHeaders = []string{"Connection", "Content-Encoding", "Content-Length", "Expect", "Host", "Idempotency-Key", "Keep-Alive",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// checkHeaders judges the key headers; authorized tells that there are credentials already. No value is shown: it may be
// a secret.
func (c *httpConfig) checkHeaders(authorized bool) error {
	seen := make(map[string]bool)
	for name, value := range c.Headers {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case name == "" || strings.ContainsFunc(name, notInToken):
			return fmt.Errorf("headers names %q, which no header can be called; use letters, digits and -", name)
		case slices.Contains(ownHeaders, canonical):
			return fmt.Errorf("headers sets %s, which logmule sets by itself; remove it", canonical)
		case canonical == "Authorization" && authorized:
			return errors.New("headers sets Authorization, and so do the credentials; keep one of them")
		case seen[canonical]:
			return fmt.Errorf("headers sets %s twice; keep one of them", canonical)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return fmt.Errorf("headers gives %s a value with a control character; remove that", canonical)
		}
		seen[canonical] = true
	}
	return nil
}

// notInToken tells whether a name of a header cannot hold r.
func notInToken(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}
