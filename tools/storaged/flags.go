package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"basalt/fuse"
	"basalt/meta"
	"basalt/netio"
	"basalt/storage"
	"basalt/tools/config"
	"basalt/tools/daemon"
	"basalt/tools/mount"
	"basalt/tools/node"
	"basalt/tools/outcome"
)

// settings are the flags; every one of them is a key of the configuration file too.
type settings struct {
	devices                                              []string
	configFile, socket, socketMode, control, tcp         string
	mountDir, metrics, log, logLevel, logFormat, pidFile string
	wire, fuse, discard                                  config.Choice
	delta, cache, arena, replay, scrubRate               config.Size
	scrubInterval                                        time.Duration
	connections, leaseSeconds, columns, queueDepth       int
	mountShard                                           int
	pin, detach, showConfig, version                     bool
}

func newSettings() *settings {
	return &settings{
		wire: config.Choice{Value: "ring", Of: []string{"ring", "gnet"}}, fuse: config.Choice{Value: "auto", Of: []string{"auto", "uring", "dev"}},
		discard: config.Choice{Value: node.DiscardAuto, Of: []string{node.DiscardAuto, node.DiscardOn, node.DiscardOff}},
		delta:   256 << 20, cache: 64 << 20, replay: 16 << 20, scrubRate: 32 << 20,
	}
}

func (s *settings) register(f *pflag.FlagSet) {
	f.StringVar(&s.configFile, "config", "", "TOML file; its keys are the names of these flags")
	f.StringArrayVar(&s.devices, "device", nil, "block device or image file, made by basalt mkfs; again for each further one")
	f.StringVar(&s.socket, "socket", defaultSocket, "Unix socket to serve on")
	f.StringVar(&s.socketMode, "socket-mode", "0600", "its permissions: who may open it may do everything")
	f.StringVar(&s.control, "control", "", "control socket (default: the socket with .ctl)")
	f.StringVar(&s.tcp, "tcp", "", "HOST:PORT to serve on too; loopback only")
	f.Var(&s.wire, "wire-transport", "how connections are carried: on the shard's ring, or by gnet")
	f.StringVar(&s.mountDir, "mount", "", "mount here too, in this process")
	f.IntVar(&s.mountShard, "mount-shard", 0, "which shard that mount is of, counted from 0 over the slices of all devices")
	f.Var(&s.fuse, "fuse-transport", "of that mount")
	f.IntVar(&s.columns, "mount-columns", 0, "threads of that mount (default: one for each CPU)")
	f.IntVar(&s.queueDepth, "mount-queue-depth", 0, "requests of one FUSE queue at a time (default 32)")
	f.Var(&s.discard, "discard", "tell the devices what is free: auto = block devices that can, on = image files too")
	f.BoolVar(&s.pin, "pin", true, "pin each column to a CPU: shard i to the i-th, modulo their number")
	f.Var(&s.delta, "delta-bytes", "changes that a shard keeps in memory until a checkpoint")
	f.Var(&s.cache, "cache-bytes", "tree nodes that a shard keeps in memory")
	f.Var(&s.arena, "arena-bytes", "memory of a shard beside that, above what is reserved for requests in flight")
	f.Var(&s.replay, "replay-bytes", "of one session's replay after a restart")
	f.Var(&s.scrubRate, "scrub-rate", "bytes a second that the scrub of a shard reads at most")
	f.DurationVar(&s.scrubInterval, "scrub-interval", scrubIntervalDefault, "from the end of one scrub of a shard to the beginning of the next; 0: only when basalt scrub start wants one")
	f.IntVar(&s.connections, "connections", 256, "most of them at a time, of one shard")
	f.IntVar(&s.leaseSeconds, "lease-seconds", 30, "how long a mount may be out of touch")
	f.StringVar(&s.metrics, "metrics", "", "HOST:PORT for Prometheus; loopback only")
	f.StringVar(&s.log, "log", "", "file to append the log to (default: standard error)")
	f.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&s.logFormat, "log-format", "text", "text or json")
	f.StringVar(&s.pidFile, "pid-file", "", "file that names this process, and that no second one may hold")
	f.BoolVar(&s.detach, "detach", false, "go to the background once requests are served; needs --log")
	f.BoolVar(&s.showConfig, "show-config", false, "print the configuration in force, and end")
	f.BoolVar(&s.version, "version", false, "print the version, and end")
}

// defaultSocket is where a node serves unless told otherwise.
const defaultSocket = "/run/basalt/node.sock"

// makeSocketDir makes the directory of the preset socket: /run is empty after a boot. Others are their owner's business.
func makeSocketDir(socket, preset string) error {
	if socket != preset {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return outcome.New(outcome.Failed, "make the directory of the socket: %w: run as root, or give --socket PATH", err)
	}
	return nil
}

func (s *settings) controlPath() string {
	if s.control != "" {
		return s.control
	}
	return s.socket + ".ctl"
}

func (s *settings) pidLock() (*daemon.Lock, error) {
	if s.pidFile == "" {
		return nil, nil
	}
	return daemon.Hold(s.pidFile, "the pid file "+s.pidFile)
}

// Limits of what may be asked for.
const (
	leaseSecondsMax = 24 * 60 * 60
	connectionsMax  = 1 << 16 // of one shard, as netio has it

	// A week: what is read once a week at least is found before a second copy, or the last backup, is gone; and at 32 MiB/s a device of 16 TiB is
	// read in six days.
	scrubIntervalDefault = 7 * 24 * time.Hour
)

// checkNumbers refuses what cannot be meant. A zero would be the default of the layer that it is for, so it is none here.
func (s *settings) checkNumbers() error {
	for _, n := range []struct {
		name        string
		value       int
		least, most int
	}{
		{"lease-seconds", s.leaseSeconds, 1, leaseSecondsMax},
		{"connections", s.connections, 1, connectionsMax},
		{"mount-shard", s.mountShard, 0, math.MaxUint16},
		{"mount-columns", s.columns, 0, mount.ColumnsMax},
		{"mount-queue-depth", s.queueDepth, 0, fuse.QueueDepthMax},
	} {
		if n.value < n.least || n.value > n.most {
			return outcome.New(outcome.Usage, "--%s %d: want %d to %d", n.name, n.value, n.least, n.most)
		}
	}
	for _, n := range []struct {
		name  string
		value config.Size
	}{{"delta-bytes", s.delta}, {"cache-bytes", s.cache}, {"replay-bytes", s.replay}, {"scrub-rate", s.scrubRate}} {
		if n.value == 0 {
			return outcome.New(outcome.Usage, "--%s 0: nothing works without any; leave it away for the default", n.name)
		}
	}
	if s.scrubInterval < 0 {
		return outcome.New(outcome.Usage, "--scrub-interval %v: want a time such as 168h, or 0 for none", s.scrubInterval)
	}
	if s.metrics == "" {
		return nil
	}
	if err := config.Loopback(s.metrics); err != nil {
		return outcome.New(outcome.Usage, "--metrics: %w", err)
	}
	return nil
}

// node turns the settings into a node's configuration.
func (s *settings) node(log *slog.Logger) (node.Config, error) {
	mode, err := strconv.ParseUint(s.socketMode, 8, 9)
	if err != nil {
		return node.Config{}, outcome.New(outcome.Usage, "--socket-mode %q: want octal permissions such as 0600", s.socketMode)
	}
	if err := s.checkNumbers(); err != nil {
		return node.Config{}, err
	}
	cfg := node.Config{
		Devices: s.devices, Socket: s.socket, SocketMode: os.FileMode(mode), TCP: s.tcp, Transport: s.wire.Value, Pin: s.pin, ArenaBytes: s.arena, Log: log,
		Discard: s.discard.Value,
		Storage: storage.Options{
			CacheBytes: int(s.cache), DeltaBytesMax: int(s.delta), ScrubBytesPerSec: int64(s.scrubRate), ScrubIntervalNs: int64(s.scrubInterval),
		},
		Meta: meta.Options{LeaseNs: int64(s.leaseSeconds) * 1e9, ReplayBytes: int(s.replay)},
		Wire: netio.Limits{ConnsMax: s.connections},
	}
	if s.mountDir != "" {
		cfg.MountShard = s.mountShard
		cfg.Mount = &mount.Config{Dir: s.mountDir, Transport: s.fuse.Value, Columns: s.columns, QueueDepth: s.queueDepth, Pin: s.pin, Log: log}
	}
	return cfg, nil
}

// logger writes to the file, or to standard error, which a detached process has in the file already.
func (s *settings) logger(isChild bool) (*slog.Logger, error) {
	out := os.Stderr
	if s.log != "" && !isChild {
		file, err := daemon.OpenLog(s.log)
		if err != nil {
			return nil, err
		}
		out = file
	}
	return newLogger(out, s.logLevel, s.logFormat)
}

func newLogger(out *os.File, level, format string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, outcome.New(outcome.Usage, "--log-level %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(out, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(out, options)), nil
	}
	return nil, outcome.New(outcome.Usage, "--log-format %q: want text or json", format)
}

// stopAfter stops a node that could not be served, and keeps the first reason first.
func stopAfter(n *node.Node, err error) error {
	if stopping := n.Stop(); stopping != nil {
		return errors.Join(err, fmt.Errorf("and the stop failed too: %w", stopping))
	}
	return err
}
