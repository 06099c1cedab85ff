package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"basalt/tools/outcome"
)

// Lock is an exclusively locked file that names the process holding it.
type Lock struct{ file *os.File }

// Hold takes the lock file at name, or says who has it. what is named in the refusal: "the socket run/node.sock".
func Hold(name, what string) (*Lock, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock of %s: %w", what, err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := io.ReadAll(io.LimitReader(file, 32))
		file.Close()
		return nil, outcome.New(outcome.InUse, "%s is in use by process %s: stop it first, or use another one", what, strings.TrimSpace(string(pid)))
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock of %s: %w", what, err)
	}
	err = file.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(file, "%d\n", os.Getpid())
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock of %s: %w", what, err)
	}
	return &Lock{file: file}, nil
}

// Release gives the lock back. The file stays: removing it would let two processes lock two files of one name.
func (l *Lock) Release() {
	if l != nil {
		l.file.Close()
	}
}
