package node

import (
	"slices"

	"basalt/meta"
	"basalt/tools/config"
	"basalt/tools/control"
	"basalt/tools/outcome"
)

// check refuses what can be seen to be wrong before anything is touched.
func (c *Config) check() error {
	if len(c.Devices) == 0 || slices.Contains(c.Devices, "") {
		return outcome.New(outcome.Usage, "no device: give --device (a block device or an image file that basalt mkfs has made; again for each further one)")
	}
	if err := sameTwice(c.Devices); err != nil {
		return err
	}
	if c.Socket == "" {
		return outcome.New(outcome.Usage, "no socket: give --socket PATH")
	}
	if err := control.CheckSocketPath(c.Socket); err != nil {
		return err
	}
	if err := c.Storage.Check(); err != nil {
		return outcome.New(outcome.Usage, "--delta-bytes, --cache-bytes or --scrub-rate: %w", err)
	}
	if c.Mount != nil {
		if err := c.Mount.Check(); err != nil {
			return err
		}
	}
	if c.TCP == "" {
		return nil
	}
	if err := config.Loopback(c.TCP); err != nil {
		return outcome.New(outcome.Usage, "--tcp: %w", err)
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
