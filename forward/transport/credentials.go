package transport

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// Credentials say who may send, in an input, and who sends, in an output.
type Credentials struct {
	Token    string `toml:"token" doc:"secret that is sent as Authorization: Bearer; empty: none. Take it from the environment with ${NAME}"`
	Username string `toml:"username" doc:"name for HTTP basic authentication, together with password; empty: none"`
	Password string `toml:"password" doc:"secret that belongs to username. Take it from the environment with ${NAME}"`
}

// On tells whether there are any.
func (c Credentials) On() bool { return c != Credentials{} }

// Check judges the keys. Its errors begin with the key that is wrong, and never show a secret.
func (c Credentials) Check() error {
	switch {
	case strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New(`token has a space, a control character or a letter beyond ASCII, which no header can carry; use letters, digits and signs`)
	case c.Username == "" && c.Password != "":
		return errors.New(`password has no username; add the key username`)
	case c.Username != "" && c.Password == "":
		return errors.New(`username has no password; add the key password`)
	case strings.ContainsFunc(c.Username, isControl) || strings.Contains(c.Username, ":"):
		return errors.New(`username has a colon or a control character; basic authentication cannot carry it`)
	case strings.ContainsFunc(c.Password, isControl):
		return errors.New(`password has a control character; basic authentication cannot carry it`)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// Header returns the value of the header Authorization that shows them, empty where there are none.
func (c Credentials) Header() string {
	switch {
	case c.Token != "":
		return "Bearer " + c.Token
	case c.Username != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
	default:
		return ""
	}
}

// Accepts judges the value of a header Authorization, in a time that does not tell how much of it is right. who names what
// was accepted, without a secret; it is empty where nothing is asked for.
func (c Credentials) Accepts(authorization string) (who string, ok bool) {
	if !c.On() {
		return "", true
	}
	scheme, shown, _ := strings.Cut(authorization, " ")
	shown = strings.TrimLeft(shown, " ")
	switch {
	case c.Token != "" && strings.EqualFold(scheme, "Bearer"):
		return "token", same(shown, c.Token)
	case c.Username != "" && strings.EqualFold(scheme, "Basic"):
		pair, err := base64.StdEncoding.DecodeString(shown)
		return "user " + c.Username, err == nil && same(string(pair), c.Username+":"+c.Password)
	}
	return "", false
}

// same compares hashes, which are of one length whatever is compared.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// Challenges are the values of WWW-Authenticate that say what would be accepted.
func (c Credentials) Challenges() []string {
	var all []string
	if c.Token != "" {
		all = append(all, `Bearer realm="logmule"`)
	}
	if c.Username != "" {
		all = append(all, `Basic realm="logmule", charset="UTF-8"`)
	}
	return all
}

// IsLoopback tells whether a host, a name or an address, is this machine. Nothing is resolved, so that a configuration
// can be checked anywhere: of names only localhost is.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// IsLoopbackAddress is IsLoopback for HOST:PORT.
func IsLoopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && IsLoopback(host)
}
