package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// rivals is the path of perf/rivals as it was built: the stores that Go programs embed, a module and a process of their own. An error
// says how to build it.
func (b *bench) rivals() (path string, err error) {
	if path, err = filepath.Abs(filepath.Join(b.bin, "rivals")); err != nil {
		return "", err
	}
	if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is missing; make bench-store builds it, and so does, in the root of the repository: go build -C perf/rivals -o %s", path, path)
	}
	return path, err
}

// haveRivals fails when a bar could not measure its other side.
func (b *bench) haveRivals() error {
	_, err := b.rivals()
	return err
}

// rivalDir is where a rival's files live; whoever makes it anew removes what an earlier run has left.
func (b *bench) rivalDir(name string) string { return filepath.Join(b.dir, name) }

// rival starts perf/rivals with one of its commands; it dies with this process.
func (b *bench) rival(args ...string) (*exec.Cmd, error) {
	path, err := b.rivals()
	if err != nil {
		return nil, err
	}
	return tied(exec.Command(path, args...)), nil
}

// tied makes a process end when this one does, and lets it speak.
func tied(cmd *exec.Cmd) *exec.Cmd {
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

// figureOf runs a process and returns the one figure that it prints.
func figureOf(cmd *exec.Cmd) (float64, error) {
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(out.String()), 64)
}

// rivalPuts is the rate of committed puts of random keys into a store, which goes on with what it has from the round before.
func (b *bench) rivalPuts(store, dir string, writers int) (float64, error) {
	cmd, err := b.rival("put", "-store", store, "-dir", dir, "-writers", strconv.Itoa(writers), "-seconds", decimal(b.seconds))
	if err != nil {
		return 0, err
	}
	v, err := figureOf(cmd)
	if err != nil {
		return 0, fmt.Errorf("puts of %s: %w", store, err)
	}
	return v, nil
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
