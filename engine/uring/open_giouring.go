//go:build giouring

package uring

// Open opens a ring of the default backend for the calling, locked thread.
func Open(cfg Config) (Ring, error) { return OpenGiouring(cfg) }
