package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
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

// Loopback refuses a HOST:PORT of another machine: nobody is authenticated yet, neither the peer that connects nor the node it finds.
func Loopback(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q: %w: write HOST:PORT", address, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: the port is no number from 0 to 65535", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not loopback: peers are not authenticated yet, so only 127.0.0.1, ::1 or localhost is allowed; a tunnel that authenticates can carry it further", address)
	}
	return nil
}

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
