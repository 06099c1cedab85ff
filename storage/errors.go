package storage

import (
	"errors"
	"fmt"
)

// Errors sorted by what the caller does with them.
var (
	// ErrMiss: the closure met a tree node or a data block that is not in memory. It must hand the error up unchanged; Update and View
	// load what was missing and run the closure again. No caller of Update or View ever sees it.
	ErrMiss = errors.New("storage: not resident")

	// ErrNotFound: no such key, object, attribute or collection.
	ErrNotFound = errors.New("storage: not found")

	// ErrExists: the collection or the object is there already.
	ErrExists = errors.New("storage: exists")

	// ErrFull: no space for this transaction, and no checkpoint can make some. Transactions that only remove are still admitted.
	ErrFull = errors.New("storage: device full")

	// ErrReadOnly: mounted so, or a flush or a write of the device failed since; reads still work, nothing more is promised to be durable.
	ErrReadOnly = errors.New("storage: read-only")

	// ErrTooLarge: a key, a value, an object or a transaction above its limit (limits.go).
	ErrTooLarge = errors.New("storage: above a limit of the store")

	// ErrInvalid: an argument that no state of the store could make right.
	ErrInvalid = errors.New("storage: invalid argument")

	// ErrClosed: the store was unmounted.
	ErrClosed = errors.New("storage: unmounted")

	// ErrBusy: no memory of the arena is left for this transaction, even after everything in flight was written.
	ErrBusy = errors.New("storage: out of arena memory")
)

// VersionError: an object is not at the version that a transaction expects of it. Nothing of the transaction was done; whoever sent it reads
// the object again.
type VersionError struct {
	Coll      Coll
	Object    []byte
	Want, Got uint64 // 0: no such object
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("storage: object %x of collection %d has version %d, expected is %d", e.Object, e.Coll, e.Got, e.Want)
}

// RotError: the disk lost what it had acknowledged as durable. Mount refuses; fsck explains.
type RotError struct {
	Device string
	Record uint64 // sequence of the journal record that cannot be read
	Proof  uint64 // sequence of the later record that proves it was durable
	Super  uint64 // the superblock that this one names, if it is newer than the newest that was found
	Why    string
}

func (e *RotError) Error() string {
	return fmt.Sprintf("storage: %s: journal record %d was durable and is unreadable now (record %d proves it): %s",
		e.Device, e.Record, e.Proof, e.Why)
}

// ObjectError: bytes of an object cannot be read, from Off on. Err is a *format.CorruptError where the device has others than were written.
type ObjectError struct {
	Coll Coll
	Name []byte
	Off  uint64 // of the step that failed, at most 1 MiB before the bad bytes
	Err  error
}

func (e *ObjectError) Error() string {
	return fmt.Sprintf("object %x of collection %d at %d: %v", e.Name, e.Coll, e.Off, e.Err)
}
func (e *ObjectError) Unwrap() error { return e.Err }

// FailedError is what a store that stopped writing answers: ErrReadOnly, with the first cause.
type FailedError struct{ Cause error }

func (e *FailedError) Error() string { return "storage: read-only after: " + e.Cause.Error() }
func (e *FailedError) Unwrap() error { return ErrReadOnly }
