package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// node is a storaged of its own process on a fresh image, and perhaps a mount in a third process. Owned by the part
// that started it.
type node struct {
	b       *bench
	mounted bool
}

func (n *node) socket() string { return filepath.Join(n.b.dir, "node.sock") }
func (n *node) mnt() string    { return filepath.Join(n.b.dir, "mnt") }

// tool runs storaged or basalt to its end; both leave their service in the background.
func (n *node) tool(name string, args ...string) error {
	text, err := exec.Command(filepath.Join(n.b.bin, name), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, text)
	}
	return nil
}

// startNode formats a whole-written image and serves it. What a run that was killed has left is taken down first.
func (b *bench) startNode() (*node, error) {
	n := &node{b: b}
	_ = n.tool("basalt", "umount", "--lazy", n.mnt()) // usually there is none
	_ = n.tool("basalt", "stop", n.socket())          // usually there is none
	image, err := b.fullFile("node.img", storeImageBytes)
	if err != nil {
		return nil, err
	}
	if err := n.tool("basalt", "mkfs", "--force", image); err != nil {
		return nil, err
	}
	err = n.tool("storaged", "--device", image, "--socket", n.socket(), "--log", filepath.Join(b.dir, "storaged.log"), "--detach")
	if err != nil {
		return nil, err
	}
	return n, nil
}

// mount mounts the node with a process of its own.
func (n *node) mount(transport string) error {
	if err := os.MkdirAll(n.mnt(), 0o755); err != nil {
		return err
	}
	err := n.tool("basalt", "mount", "--node", n.socket(), "--log", filepath.Join(n.b.dir, "mount.log"), "--fuse-transport="+transport, n.mnt())
	n.mounted = err == nil
	return err
}

// close takes the mount and the node down.
func (n *node) close() (err error) {
	if n.mounted {
		err = n.tool("basalt", "umount", n.mnt())
		n.mounted = false
	}
	return errors.Join(err, n.tool("basalt", "stop", n.socket()))
}
