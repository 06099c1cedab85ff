package fuse_test

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// lockThread keeps the goroutine on its thread for good: the thread ends with it.
func lockThread() { runtime.LockOSThread() }

// setFsUser makes file accesses of this thread those of a user, without the privileges of root.
func setFsUser(uid int) error {
	if _, err := unix.SetfsgidRetGid(uid); err != nil {
		return err
	}
	_, err := unix.SetfsuidRetUid(uid)
	return err
}
