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
type Lock struct {
	file *os.File
	name string
}

// triesMax: the file may be removed between its opening and its locking, by a holder who lets go; each time again only by bad luck.
const triesMax = 100

// Hold takes the lock file at name, or says who has it. what is named in the refusal: "the socket run/node.sock".
func Hold(name, what string) (*Lock, error) {
	for range triesMax {
		lock, err := hold(name, what)
		if lock == nil && err == nil {
			continue
		}
		return lock, err
	}
	return nil, outcome.New(outcome.InUse, "%s: its lock file %s is made and removed all the time", what, name)
}

// hold is one try; neither a lock nor an error: the file that was locked is not the one of that name any more.
func hold(name, what string) (*Lock, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock of %s: %w", what, err)
	}
	return take(file, name, what)
}

// take locks the file that was opened under the name.
func take(file *os.File, name, what string) (*Lock, error) {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := io.ReadAll(io.LimitReader(file, 32))
		file.Close()
		return nil, outcome.New(outcome.InUse, "%s is in use by process %s: stop it first, or use another one", what, strings.TrimSpace(string(pid)))
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock of %s: %w", what, err)
	}
	if !current(file, name) {
		file.Close()
		return nil, nil
	}
	err = file.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(file, "%d\n", os.Getpid())
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock of %s: %w", what, err)
	}
	return &Lock{file: file, name: name}, nil
}

// current tells whether the name still leads to the open file.
func current(file *os.File, name string) bool {
	have, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(have, named)
}

// Release gives the lock back. The file is removed while it is still locked, so whoever locks it afterwards sees that it is not that of the
// name any more, and takes the new one.
func (l *Lock) Release() {
	if l == nil {
		return
	}
	if current(l.file, l.name) {
		os.Remove(l.name) // if it stays, it is taken over by the next
	}
	l.file.Close()
}
