package node

import (
	"net"

	"basalt/meta"
	"basalt/tools/control"
	"basalt/tools/outcome"
)

// check refuses what can be seen to be wrong before anything is touched.
func (c *Config) check() error {
	if c.Device == "" {
		return outcome.New(outcome.Usage, "no device: give --device (a block device or an image file that basalt mkfs has made)")
	}
	if c.Socket == "" {
		return outcome.New(outcome.Usage, "no socket: give --socket PATH")
	}
	if err := control.CheckSocketPath(c.Socket); err != nil {
		return err
	}
	if c.TCP == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.TCP)
	if err != nil {
		return outcome.New(outcome.Usage, "--tcp %s: %w: write HOST:PORT", c.TCP, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return outcome.New(outcome.Usage, "--tcp %s is not loopback: peers are not authenticated yet, so only 127.0.0.1 or ::1 is allowed", c.TCP)
	}
	return nil
}

// leaseNs is the lease that the namespace grants; its own default when nothing is set.
func leaseNs(o meta.Options) int64 {
	if o.LeaseNs == 0 {
		return 30e9
	}
	return o.LeaseNs
}
