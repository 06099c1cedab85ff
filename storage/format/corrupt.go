package format

import (
	"errors"
	"fmt"
)

// Place is where bytes came from. Decoders take it only to name it in a CorruptError.
type Place struct {
	Device string
	Extent Extent
}

// CorruptError says that bytes read from a device are not what they must be. It carries enough for the dump command to
// show them.
type CorruptError struct {
	Place
	What string // the structure and the field that was being read
	Want string
	Got  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt: device %q extent %v: %s: want %s, got %s", e.Device, e.Extent, e.What, e.Want, e.Got)
}

// IsCorrupt tells whether err is, or wraps, a CorruptError.
func IsCorrupt(err error) bool {
	var c *CorruptError
	return errors.As(err, &c)
}

//go:noinline
func corrupt(p Place, what, want, got string) error {
	return &CorruptError{Place: p, What: what, Want: want, Got: got}
}

// CorruptCrc is the error for a checksum that does not match.
//
//go:noinline
func CorruptCrc(p Place, what string, want, got uint32) error {
	return corrupt(p, what+" crc32c", fmt.Sprintf("%08x", want), fmt.Sprintf("%08x", got))
}

//go:noinline
func corruptValue(p Place, what string, want, got any) error {
	return corrupt(p, what, fmt.Sprint(want), fmt.Sprint(got))
}

// checkMagic compares the magic number at the start of b.
func checkMagic(p Place, what, magic string, b []byte) error {
	if string(b[:len(magic)]) != magic {
		return corrupt(p, what+" magic", fmt.Sprintf("%q", magic), fmt.Sprintf("%q", b[:len(magic)]))
	}
	return nil
}

// checkZero refuses padding that is not zero.
func checkZero(p Place, what string, b []byte, from int) error {
	if i := nonZero(b); i >= 0 {
		return corrupt(p, fmt.Sprintf("%s padding at byte %d", what, from+i), "0", fmt.Sprint(b[i]))
	}
	return nil
}

// checkLen refuses input that is too short to hold a structure.
func checkLen(p Place, what string, b []byte, need int) error {
	if len(b) < need {
		return corrupt(p, what+" length", fmt.Sprintf("at least %d bytes", need), fmt.Sprintf("%d bytes", len(b)))
	}
	return nil
}
