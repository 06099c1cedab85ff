// Package outcome is how a Basalt program ends: an exit code that a script can decide on, and one sentence that says
// what is wrong and what to do about it.
//
// It owns no state. Invariant: a program ends through Exit, so that every failure has exactly one line on standard
// error and a code of this table; docs/OPERATIONS.md shows the same table, and a test compares them.
package outcome

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Code is an exit code.
type Code int

const (
	OK          Code = 0
	Failed      Code = 1 // what was asked could not be done
	Usage       Code = 2 // command line or configuration is wrong: nothing was touched
	Device      Code = 3 // the device, or what is on it, was refused
	Damage      Code = 4 // what was looked at is damaged
	Unreachable Code = 5 // no node answers there
	InUse       Code = 6 // device, socket, port or directory is in use by somebody else
	Mount       Code = 7 // the kernel would not mount or unmount
)

// Codes lists the table in order, for the documentation and its test.
var Codes = []struct {
	Code Code
	What string
}{
	{OK, "done"},
	{Failed, "what was asked could not be done"},
	{Usage, "the command line or the configuration is wrong; nothing was touched"},
	{Device, "the device, or what is on it, was refused"},
	{Damage, "damage was found: by `basalt fsck`, in what `basalt dump` shows, or in an object that was to be read"},
	{Unreachable, "no node answers there"},
	{InUse, "the device, socket, port or directory is in use by somebody else"},
	{Mount, "the kernel would not mount or unmount"},
}

// Error carries the code with the sentence.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a code; format may wrap with %w.
func New(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// worst orders the codes for errors that were joined: a script that sees one of them must not miss the worse one.
var worst = []Code{OK, Failed, Usage, Unreachable, Mount, InUse, Device, Damage}

// CodeOf is the exit code of an error; Failed when nobody chose one; of several that were joined, the worst.
func CodeOf(err error) Code {
	switch e := err.(type) {
	case nil:
		return OK
	case *Error:
		return e.Code
	case interface{ Unwrap() []error }:
		code := Failed
		for _, one := range e.Unwrap() {
			if c := CodeOf(one); slices.Index(worst, c) > slices.Index(worst, code) {
				code = c
			}
		}
		return code
	}
	return max(Failed, CodeOf(errors.Unwrap(err)))
}

// Exit prints the sentence and returns the code for os.Exit.
func Exit(stderr io.Writer, program string, err error) int {
	if err != nil {
		// Joined errors come on lines of their own; the promise is one line.
		fmt.Fprintf(stderr, "%s: %s\n", program, strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	return int(CodeOf(err))
}
