package mount

import (
	"crypto/rand"
	"errors"
	"os"
	"strconv"
	"syscall"

	"basalt/engine"
	"basalt/meta/client"
	"basalt/netio"
	"basalt/tools/config"
	"basalt/tools/control"
	"basalt/tools/outcome"
)

// Remote mounts over the wire.
func Remote(cfg Config, node config.Address) (*Mount, error) {
	cfg.setDefaults()
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Source == "" {
		cfg.Source = node.String()
		if cfg.Shard != 0 {
			cfg.Source += "#" + strconv.Itoa(int(cfg.Shard))
		}
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	m := &Mount{cfg: cfg, mount: client.NewMount(id)}
	for n := range cfg.Columns {
		err := m.newColumn(n, func(f *engine.Fiber, c *column) error { return m.connect(f, c, node) })
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	if err := m.serve(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// connect runs on the column.
func (m *Mount) connect(f *engine.Fiber, c *column, node config.Address) (err error) {
	host, _ := os.Hostname() // only a name for people
	network, address := "unix", node.Unix
	if node.TCP != "" {
		network, address = "tcp", node.TCP
	}
	log := m.cfg.Log
	c.fs, c.session, err = m.mount.Connect(f, client.SessionConfig{
		Network: network, Address: address, Shard: m.cfg.Shard, Client: host + ":" + strconv.Itoa(os.Getpid()) + ":" + m.cfg.Dir,
		// The log is a file: a line now and then does not hold the column up.
		Report: func(event string, args ...any) { log.Warn(event, args...) },
	})
	if err != nil {
		return unreachable(node, err)
	}
	return nil
}

func unreachable(node config.Address, err error) error {
	where := node.Unix
	if node.TCP != "" {
		where = node.TCP
	}
	var refused *netio.RemoteError
	var spoken *netio.ProtocolError
	switch {
	case errors.As(err, &refused) && !errors.Is(err, netio.ErrStopped), errors.As(err, &spoken) && spoken.Code == netio.CodeVersion:
		return outcome.New(outcome.Failed, "the node on %s does not take this mount: %w", where, err)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return outcome.New(outcome.Unreachable, "no node answers on %s: start storaged, or name the right one with --node", where)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return outcome.New(outcome.Unreachable, "no permission to connect to %s: only the user who runs the node may, unless it was started with another --socket-mode", where)
	}
	return outcome.New(outcome.Unreachable, "connect to the node on %s: %w", where, err)
}

func linkPart(i int, c *column) control.Part {
	part := control.Part{Kind: "link", ID: strconv.Itoa(i), Values: map[string]float64{}}
	_ = c.reactor.Call(func(*engine.Fiber) error { // if the column has ended, the numbers are missing
		s := c.session.Stats()
		serving := 0.0
		if s.Serving {
			serving = 1
		}
		part.Values = map[string]float64{
			"serving": serving, "connects_total": float64(s.Connects), "losses_total": float64(s.Losses), "resends_total": float64(s.Resends),
			"replays_total": float64(s.Replays), "lost_total": float64(s.Lost), "syncs_total": float64(s.Syncs), "kept_bytes": float64(s.KeptBytes),
			"kept_requests": float64(s.KeptRequests), "kept_max_bytes": float64(s.KeptMax), "asking": float64(s.Asking),
		}
		return nil
	})
	return part
}
