package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// memoryGroup is a memory cgroup of the bench's own. What its members allocate, and what they read through the page cache, counts.
type memoryGroup struct{ dir string }

// newMemoryGroup makes a group below, or beside, the one that this process is in, so that limits above it stay in force.
func newMemoryGroup(name string, bytes int64) (*memoryGroup, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	parent, unified, err := memoryParent(string(text), func(dir string) bool {
		has, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		return err == nil && strings.Contains(" "+strings.TrimSpace(string(has))+" ", " memory ")
	})
	if err != nil {
		return nil, err
	}
	g := &memoryGroup{dir: filepath.Join(parent, fmt.Sprintf("basalt-bench-%d-%s", os.Getpid(), name))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("memory cgroups cannot be made here: %w", err)
	}
	limit := "memory.limit_in_bytes"
	if unified {
		limit = "memory.max"
	}
	if err := os.WriteFile(filepath.Join(g.dir, limit), strconv.AppendInt(nil, bytes, 10), 0); err != nil {
		return nil, errors.Join(err, g.remove())
	}
	return g, nil
}

// memoryParent finds the directory in which a memory cgroup may be made, from the text of /proc/self/cgroup. In the unified hierarchy
// (version 2) a group that has processes gives its children no controller, so it is the nearest group that does; in a hierarchy
// of version 1 it is the group that the process is in.
func memoryParent(text string, delegates func(dir string) bool) (dir string, unified bool, err error) {
	own := ""
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			if c == "memory" {
				return filepath.Join(cgroupRoot, "memory", f[2]), false, nil
			}
		}
		if f[0] == "0" {
			own = f[2]
		}
	}
	if own == "" {
		return "", false, errors.New("the kernel names no memory cgroup for this process")
	}
	for p := filepath.Clean(own); ; p = filepath.Dir(p) {
		if dir := filepath.Join(cgroupRoot, p); delegates(dir) {
			return dir, true, nil
		}
		if p == "/" || p == "." {
			return "", false, fmt.Errorf("no cgroup above %s gives its children the memory controller", own)
		}
	}
}

// enterMemoryGroup makes this process a member.
func enterMemoryGroup(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
}

// remove deletes the group. The kernel counts a process as a member for a moment after it has been waited for.
func (g *memoryGroup) remove() (err error) {
	for range 50 {
		if err = os.Remove(g.dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}
