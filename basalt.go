// Package basalt is the Go client of a Basalt file system: it talks to a node directly, without a mount, and looks like
// package os to its caller and like io/fs to everything that reads trees.
//
// An FS owns one column (an engine.Reactor with its thread) and the sessions to the node's shards; everything inside
// belongs to that thread. The methods of FS and File are for ordinary goroutines, any number at once.
//
// Invariants: names are those of io/fs ("a/b", "." for the root, never absolute), resolved here, symbolic links
// included, at most 40 of them. What a method returned without error is applied and visible to every client; it
// survives power loss once Sync (of the file or of the FS) has returned. No permission is checked: whoever may connect
// to the node may do everything, and new files belong to the user of Config.
//
// Locks: none but the semaphore that bounds calls in flight, and the one in File around its offset.
//
// Survives: lost connections and a restarted node: callers wait, and each operation is done exactly once. Read this
// file first, then path.go and file.go.
package basalt

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"basalt/engine"
	"basalt/meta/client"
	"basalt/meta/record"
)

// Limits of one FS.
const (
	callsMax   = 1024     // operations in flight; more wait
	arenaBytes = 64 << 20 // the column's memory: connection buffers and data in flight
	pieceBytes = 1 << 20  // data of one request
	linksMax   = 40       // symbolic links on one path, as the kernel has it
)

var (
	_ fs.ReadDirFS   = (*FS)(nil)
	_ fs.StatFS      = (*FS)(nil)
	_ fs.ReadFileFS  = (*FS)(nil)
	_ fs.ReadLinkFS  = (*FS)(nil)
	_ fs.ReadDirFile = (*File)(nil)
)

// Config of a connection; the zero value is fine.
type Config struct {
	Client   string // a name for the node's log; default the program's name
	Shard    uint16 // which of the node's shards; each has a file system of its own
	UID, GID uint32 // owner of what is created; both zero: root
}

// FS is a connected file system. It implements fs.FS, fs.StatFS, fs.ReadDirFS, fs.ReadFileFS and fs.ReadLinkFS.
type FS struct {
	cfg     Config          // immutable
	reactor *engine.Reactor // immutable
	fs      *client.FS      // immutable; used on the reactor only
	session *client.Session // immutable; used on the reactor only
	calls   chan struct{}   // a token for each call in flight
}

// Dial connects to the node at address, "unix:PATH" or "tcp:HOST:PORT". HOST is a loopback address: there is no authentication yet.
func Dial(address string, cfg Config) (*FS, error) {
	network, where, ok := strings.Cut(address, ":")
	if !ok || network != "unix" && network != "tcp" || where == "" {
		return nil, fmt.Errorf("basalt: address %q: want unix:PATH or tcp:HOST:PORT", address)
	}
	if err := client.CheckAddress(network, where); err != nil {
		return nil, fmt.Errorf("basalt: address %q: %w", address, err)
	}
	if cfg.Client == "" {
		cfg.Client = os.Args[0]
	}
	reactor, err := engine.New(engine.Config{Name: "basalt client", CPU: -1, ArenaBytes: arenaBytes})
	if err != nil {
		return nil, err
	}
	x := &FS{cfg: cfg, reactor: reactor, calls: make(chan struct{}, callsMax)}
	if err := reactor.Start(func(f *engine.Fiber) error { return x.connect(f, network, where) }); err != nil {
		return nil, fmt.Errorf("basalt: connect to %s: %w", address, err)
	}
	return x, nil
}

// connect runs on the column.
func (x *FS) connect(f *engine.Fiber, network, where string) (err error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	x.fs, x.session, err = client.NewMount(id).Connect(f, client.SessionConfig{
		Network: network, Address: where, Shard: x.cfg.Shard, Client: clip(x.cfg.Client), NoCache: true,
	})
	return err
}

// clip keeps the end of a name, which tells more than its beginning.
func clip(name string) string {
	if n := len(name); n > record.ClientMax {
		return name[n-record.ClientMax:]
	}
	return name
}

// Close commits what was done and ends the connection. Files that are open are of no use afterwards.
func (x *FS) Close() error {
	err := x.Sync()
	if errors.Is(err, engine.ErrStopped) {
		return nil // closed before
	}
	closing := x.call(func(f *engine.Fiber) error {
		x.session.Close(f)
		return nil
	})
	x.reactor.Stop()
	return errors.Join(err, closing, x.reactor.Wait())
}

// call runs fn on the column; waiting for a token bounds what the column can be asked at once.
func (x *FS) call(fn func(f *engine.Fiber) error) error {
	x.calls <- struct{}{}
	defer func() { <-x.calls }()
	return x.reactor.Call(fn)
}

// do is call for an operation on one name; what went wrong names it.
func (x *FS) do(op, name string, fn func(f *engine.Fiber) record.Status) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	err := x.call(func(f *engine.Fiber) error { return asError(fn(f)) })
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// Sync returns when everything done so far, by anybody, is on the node's media.
func (x *FS) Sync() error {
	return x.call(func(f *engine.Fiber) error { return asError(x.fs.SyncAll(f)) })
}

// Space describes the file system's room, in bytes.
type Space struct{ Total, Free uint64 }

// Space asks how much room there is.
func (x *FS) Space() (Space, error) {
	var s record.StatFs
	err := x.call(func(f *engine.Fiber) error { return asError(x.fs.StatFs(f, &s)) })
	return Space{Total: s.Blocks * uint64(s.BlockSize), Free: s.Avail * uint64(s.BlockSize)}, err
}

// StatusError is a refusal of the node. errors.Is finds fs.ErrNotExist, fs.ErrExist, fs.ErrPermission and fs.ErrInvalid.
type StatusError struct{ Status record.Status }

func (e *StatusError) Error() string { return e.Status.Error() }

// Is compares with the sentences of io/fs.
func (e *StatusError) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Status == record.NotFound
	case fs.ErrExist:
		return e.Status == record.Exists || e.Status == record.NotEmpty
	case fs.ErrPermission:
		return e.Status == record.Permission
	case fs.ErrInvalid:
		return e.Status == record.Invalid
	}
	return false
}

func asError(s record.Status) error {
	if s == record.OK {
		return nil
	}
	return &StatusError{s}
}
