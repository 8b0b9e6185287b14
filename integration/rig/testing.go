package rig

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
	"time"
)

// Patience bounds every wait of a test. It is far beyond what anything takes on an idle machine; speed is printed, not asserted.
const Patience = 60 * time.Second

// Must ends the test with an error that is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Background runs a source until the function it gives is called, which waits for its end.
func Background[T any](t testing.TB, run func(context.Context) T) (stop func() T) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan T, 1)
	go func() { result <- run(ctx) }()
	t.Cleanup(cancel)
	return func() T {
		cancel()
		return <-result
	}
}

// StartHTTPSink starts a destination that ends with the test.
func StartHTTPSink(t testing.TB, address string, arrived func(record []byte)) *HTTPSink {
	t.Helper()
	s, err := NewHTTPSink(address, arrived)
	Must(t, err)
	t.Cleanup(s.Close)
	return s
}

// StartTCPSink starts a destination that ends with the test.
func StartTCPSink(t testing.TB, address string, arrived func(record []byte)) *TCPSink {
	t.Helper()
	s, err := NewTCPSink(address, arrived)
	Must(t, err)
	t.Cleanup(s.Close)
	return s
}

// Address is one that nothing listens on.
func Address(t testing.TB) string {
	t.Helper()
	a, err := FreeAddress()
	Must(t, err)
	return a
}

// OwnAddress is one that stays free while nobody listens on it, over any number of restarts: it is on a host of 127.0.0.0/8
// that no connection of this machine goes out from, and its port is none that the kernel gives to whoever asks for any. Linux only.
func OwnAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		address := net.JoinHostPort(host, strconv.Itoa(20000+rand.IntN(12000)))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no address is free")
	return ""
}
