package main

import (
	"basalt/tools/control"
	"basalt/tools/mountpoint"
	"basalt/tools/node"
)

// doors are where the node can be asked and stopped.
type doors struct {
	node    *control.Server
	mount   *control.Server  // where the commands look for who serves the directory; nil: no mount in this process
	metrics *control.Metrics // nil: not wished
}

// open opens the control sockets and, by wish, the metrics.
func (s *settings) open(n *node.Node) (d *doors, err error) {
	d = &doors{}
	defer func() {
		if err != nil {
			d.finish(err)
			d.metrics.Close()
		}
	}()
	if s.metrics != "" {
		if d.metrics, err = control.ServeMetrics(s.metrics, n.Status); err != nil {
			return d, err
		}
	}
	metrics := ""
	if d.metrics != nil {
		metrics = d.metrics.Addr
	}
	source := func() control.Status {
		status := n.Status()
		if metrics != "" {
			status.About["metrics"] = metrics
		}
		return status
	}
	if d.node, err = control.Listen(s.controlPath(), source, control.ScrubRoutes(n.Scrub)...); err != nil || s.mountDir == "" {
		return d, err
	}
	dir, err := mountpoint.Resolve(s.mountDir)
	if err != nil {
		return d, err
	}
	path, err := mountpoint.ControlSocket(dir)
	if err != nil {
		return d, err
	}
	d.mount, err = control.Listen(path, source, control.ScrubRoutes(n.Scrub)...)
	return d, err
}

// finish tells whoever ordered the stop how it ended.
func (d *doors) finish(err error) {
	d.node.Finish(err)
	d.mount.Finish(err)
}
