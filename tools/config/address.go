package config

import (
	"fmt"
	"net"
	"strings"

	"basalt/netio"
)

// Address is where a node listens: "unix:PATH" or "tcp:HOST:PORT"; a bare path means unix, a bare HOST:PORT tcp.
type Address struct {
	Unix string // path of a socket, or empty
	TCP  string // host:port, or empty
}

// ParseAddress reads an address.
func ParseAddress(text string) (Address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok && path != "" {
		return Address{Unix: path}, nil
	}
	tcp, tagged := strings.CutPrefix(text, "tcp:")
	if !tagged && text != "" && (strings.Contains(text, "/") || !strings.Contains(text, ":")) {
		return Address{Unix: text}, nil
	}
	host, port, err := net.SplitHostPort(tcp)
	if err != nil || host == "" || port == "" {
		return Address{}, fmt.Errorf("%q is no address: write unix:PATH or tcp:HOST:PORT", text)
	}
	if err := Loopback(tcp); err != nil {
		return Address{}, err
	}
	return Address{TCP: tcp}, nil
}

// Loopback refuses a HOST:PORT of another machine.
func Loopback(address string) error { return netio.Loopback(address) }

func (a Address) String() string {
	switch {
	case a.Unix != "":
		return "unix:" + a.Unix
	case a.TCP != "":
		return "tcp:" + a.TCP
	}
	return ""
}

func (a *Address) Set(text string) error {
	parsed, err := ParseAddress(text)
	if err == nil {
		*a = parsed
	}
	return err
}

func (a *Address) Type() string { return "address" }
