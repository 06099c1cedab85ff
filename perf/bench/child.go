package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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
		figure, err = b.getsPebble()
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
	args := []string{"-child", name, "-dir", b.dir, "-seconds", strconv.FormatFloat(b.seconds, 'f', -1, 64),
		"-keys", strconv.Itoa(b.keys), "-crash-objects", strconv.Itoa(b.crashed)}
	if group != nil {
		args = append(args, "-cgroup", group.dir)
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd, nil
}

// figureOf runs the process in the group and returns the figure that it prints.
func (b *bench) figureOf(name string, group *memoryGroup) (float64, error) {
	cmd, err := b.command(name, group)
	if err != nil {
		return 0, err
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("process %s in %s (killed: it needed more memory than the group has): %w", name, group.dir, err)
	}
	return strconv.ParseFloat(strings.TrimSpace(out.String()), 64)
}
