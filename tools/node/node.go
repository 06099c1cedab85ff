// Package node is a running storage node: its devices, for each slice of each of them a column with the store and the
// namespace of that shard, and the front door; and, by wish, a mount in the same process. It also makes and checks
// stores (mkfs, fsck), which need the same column for a moment.
//
// A Node is owned by the goroutine that started it; Status may be called from any. It owns the devices (exclusively),
// the sockets' lock files and the columns. Invariants: nothing listens before every store is mounted and every namespace
// serves; a stop closes in the opposite order of the start, so that nobody is promised anything by what is half down;
// a device that fails takes its own shards with it and no others. It survives being killed at any point: the next start
// replays. Read node.go, then devices.go, shard.go and open.go.
package node

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"basalt/engine/uring"
	"basalt/meta"
	"basalt/netio"
	"basalt/storage"
	"basalt/tools/config"
	"basalt/tools/control"
	"basalt/tools/daemon"
	"basalt/tools/mount"
	"basalt/tools/outcome"
	"basalt/tools/version"
)

// Config of a node.
type Config struct {
	Devices    []string // each a block device or an image file; their slices are the shards, in this order
	Socket     string
	SocketMode os.FileMode
	TCP        string // loopback only, until peers are authenticated
	Transport  string // "ring" or "gnet"
	Pin        bool
	Discard    string      // DiscardAuto, DiscardOn or DiscardOff; decides Storage.Discard of each device
	ArenaBytes config.Size // beside what the limits of the store need
	Storage    storage.Options
	Meta       meta.Options
	Wire       netio.Limits
	Mount      *mount.Config // nil: no mount in this process
	MountShard int           // which shard that mounts
	Log        *slog.Logger
}

// Node is a running node.
type Node struct {
	cfg    Config
	report uring.Report
	since  time.Time
	disks  []*disk
	shards []*shard
	socket *daemon.Lock
	server *netio.Server
	mount  *mount.Mount
}

// Start brings a node up; when it returns, the node serves.
func Start(cfg Config) (n *Node, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	n = &Node{cfg: cfg, since: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop())
		}
	}()
	if err := cfg.check(); err != nil {
		return n, err
	}
	if n.report, err = Probe(cfg.Log); err != nil {
		return n, err
	}
	if n.socket, err = control.ClaimSocket(cfg.Socket); err != nil {
		return n, err
	}
	if n.disks, err = openDisks(cfg.Devices, cfg.Discard); err != nil {
		return n, err
	}
	tellGrown(cfg.Log, n.disks)
	if err := n.startShards(); err != nil {
		return n, err
	}
	if err := n.listen(); err != nil {
		return n, err
	}
	if cfg.Mount == nil {
		return n, nil
	}
	s := n.shards[cfg.MountShard]
	local := *cfg.Mount
	local.Source = s.disk.path
	n.mount, err = mount.Local(local, mount.Shard{Reactor: s.reactor, CPU: s.cpu, Meta: s.meta, LeaseNs: leaseNs(cfg.Meta)})
	return n, err
}

// Probe asks what this kernel offers and prints it; without io_uring nothing works.
func Probe(log *slog.Logger) (uring.Report, error) {
	report, err := uring.Probe()
	if err != nil {
		return report, outcome.New(outcome.Failed, "ask the kernel about io_uring: %w", err)
	}
	if !report.Available {
		return report, outcome.New(outcome.Failed, "io_uring is not available: %s; Basalt needs Linux 6.1 or newer with kernel.io_uring_disabled=0, and a container must allow it", report.Reason)
	}
	log.Info(report.String())
	return report, nil
}

func (n *Node) listen() (err error) {
	var ports []*netio.Port
	for _, s := range n.shards {
		ports = append(ports, s.port)
	}
	n.server, err = netio.Listen(netio.ServerConfig{
		Unix: n.cfg.Socket, UnixMode: n.cfg.SocketMode, TCP: n.cfg.TCP, Transport: n.cfg.Transport, Ports: ports,
	})
	if errors.Is(err, syscall.EADDRINUSE) {
		return outcome.New(outcome.InUse, "%w", err)
	}
	if err != nil {
		return err
	}
	n.cfg.Log.Info("listening", "socket", n.cfg.Socket, "tcp", n.server.TCP(), "wire_transport", n.cfg.Transport)
	return nil
}

// MountDone is closed when the mount of this process is gone; nil without one.
func (n *Node) MountDone() <-chan struct{} {
	if n.mount == nil {
		return nil
	}
	return n.mount.Done()
}

// Stop takes the node down in order: mount, front door with what is in flight, namespaces, stores with a checkpoint each, devices. What
// fails does not keep the rest from ending in order.
func (n *Node) Stop() error {
	var errs []error
	if n.mount != nil {
		errs = append(errs, n.stopMount())
	}
	if n.server != nil {
		errs = append(errs, n.server.Close())
	}
	errs = append(errs, n.stopShards(), closeDisks(n.disks))
	n.socket.Release()
	return errors.Join(errs...)
}

// stopMount takes the mount off; while programs use it, it is detached: they keep what they have open until we end.
func (n *Node) stopMount() error {
	if err := n.mount.Unmount(false); err != nil {
		n.cfg.Log.Warn("the mount is in use and is detached", "error", err)
		if err := n.mount.Unmount(true); err != nil {
			return err
		}
	}
	return n.mount.Close()
}

// Status is what the node says of itself.
func (n *Node) Status() control.Status {
	s := control.Status{
		Role: "node", Version: version.Number, PID: os.Getpid(), State: control.Serving, Since: n.since,
		About: map[string]string{
			"device": strings.Join(n.cfg.Devices, ", "), "socket": absolute(n.cfg.Socket), "tcp": n.server.TCP(), "wire_transport": n.cfg.Transport, "ring": n.report.String(),
			"discard": n.howDiscarded(),
		},
	}
	s.Parts, s.State = n.shardStatus()
	if n.mount != nil {
		name, why := n.mount.Transport()
		s.About["mount"], s.About["fuse_transport"] = n.cfg.Mount.Dir, name+" ("+why+")"
		s.Parts = append(s.Parts, n.mount.Parts()...)
	}
	return s
}
