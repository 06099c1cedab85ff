package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// child is this program as a process of its own: it does one thing, prints one figure, and ends.
func (b *bench) child(name, group string) error {
	if group != "" {
		if err := enterMemoryGroup(group); err != nil {
			return err
		}
	}
	var figure float64
	var err error
	switch name {
	case childGets:
		figure, err = b.getsOurs()
	case childGetsPebble:
		return b.getsPebble()
	case childCrash:
		return b.crash()
	default:
		return fmt.Errorf("no child is called %q", name)
	}
	if err == nil {
		_, err = fmt.Println(figure)
	}
	return err
}

// command starts such a process; it dies with this one.
func (b *bench) command(name string, group *memoryGroup) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-child", name, "-dir", b.dir, "-bin", b.bin, "-seconds", decimal(b.seconds),
		"-keys", strconv.Itoa(b.keys), "-crash-objects", strconv.Itoa(b.crashed)}
	if group != nil {
		args = append(args, "-cgroup", group.dir)
	}
	return tied(exec.Command(self, args...)), nil
}

// groupFigure runs the process in the group and returns the figure that it prints.
func (b *bench) groupFigure(name string, group *memoryGroup) (float64, error) {
	cmd, err := b.command(name, group)
	if err != nil {
		return 0, err
	}
	v, err := figureOf(cmd)
	if err != nil {
		return 0, fmt.Errorf("process %s in %s (killed: it needed more memory than the group has): %w", name, group.dir, err)
	}
	return v, nil
}
