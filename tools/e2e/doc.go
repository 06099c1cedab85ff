// Package e2e tests the programs as users run them: built binaries, real devices, real mounts, real kills.
//
// It has no state and no production code. Every test makes a rig (package rig) in a directory of its own and takes it
// down. Needs root (or fusermount3 and access to /dev/fuse) and io_uring; what is missing is a failure, not a skip.
package e2e
