package transport

import (
	"strings"
	"testing"
)

func TestCredentials(t *testing.T) {
	both := Credentials{Token: "s3cret", Username: "ann", Password: "pass:word"}
	for shown, want := range map[string]string{
		"Bearer s3cret":                       "token",
		"bearer  s3cret":                      "token",
		"Basic YW5uOnBhc3M6d29yZA==":          "user ann",
		"BASIC YW5uOnBhc3M6d29yZA==":          "user ann",
		"":                                    "",
		"s3cret":                              "",
		"Bearer":                              "",
		"Bearer ":                             "",
		"Bearer s3cre":                        "",
		"Bearer s3crets":                      "",
		"Bearer S3CRET":                       "",
		"Basic s3cret":                        "",
		"Basic YW5uOg==":                      "", // ann:
		"Basic YW5u":                          "", // ann
		"Basic OnBhc3M6d29yZA==":              "", // :pass:word
		"Bearer YW5uOnBhc3M6d29yZA==":         "",
		"Digest username=ann, nonce=x":        "",
		"Bearer " + strings.Repeat("s", 1000): "",
	} {
		if who, ok := both.Accepts(shown); ok != (want != "") || ok && who != want {
			t.Errorf("%q: %q, %v", shown, who, ok)
		}
	}
	if _, ok := (Credentials{Token: "x"}).Accepts("Basic Og=="); ok { // an empty name and password
		t.Error("basic authentication is accepted where a token is asked for")
	}
	if _, ok := (Credentials{Username: "a", Password: "b"}).Accepts("Bearer "); ok {
		t.Error("an empty token is accepted where a password is asked for")
	}
	if who, ok := (Credentials{}).Accepts("Bearer anything"); !ok || who != "" {
		t.Error("credentials are asked for that nobody configured")
	}
	for _, c := range []Credentials{{Token: "s3cret"}, {Username: "ann", Password: "pass:word"}} {
		if who, ok := both.Accepts(c.Header()); !ok || who == "" {
			t.Errorf("what %s shows is not accepted", c.Username)
		}
	}
	if h := (Credentials{}).Header(); h != "" {
		t.Errorf("no credentials are shown as %q", h)
	}
	if got := strings.Join(both.Challenges(), " "); !strings.HasPrefix(got, "Bearer ") || !strings.Contains(got, " Basic ") {
		t.Errorf("challenges %q", got)
	}
}

func TestCredentialsCheck(t *testing.T) {
	for key, c := range map[string]Credentials{
		"":                          {},
		"token":                     {Token: "a b"},
		"token ":                    {Token: "a\nb"},
		"token  ":                   {Token: "gr\u00fc\u00df"},
		"password has no":           {Password: "x"},
		"username has no":           {Username: "x"},
		"username has a":            {Username: "x:y", Password: "z"},
		"password has a control ch": {Username: "x", Password: "y\nz"},
	} {
		err := c.Check()
		if (err == nil) != (key == "") || err != nil && !strings.HasPrefix(err.Error(), strings.TrimRight(key, " ")) {
			t.Errorf("%+v: %v", c, err)
		}
		if err != nil && !strings.Contains(err.Error(), "; ") {
			t.Errorf("%v does not say what to do", err)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "[::1]": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.example": false, "127.0.0.1.example": false,
	} {
		if got := IsLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	if !IsLoopbackAddress("[::1]:80") || IsLoopbackAddress(":80") || IsLoopbackAddress("127.0.0.1") {
		t.Error("addresses")
	}
}
