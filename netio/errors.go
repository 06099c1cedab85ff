package netio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Code is the wire's number of an error.
type Code uint16

const (
	CodeVersion Code = 1 + iota
	CodeMalformed
	CodeRefused
	CodeNoShard
	CodeBusy
	CodeStopping
	CodeDeadline
	CodeTimeout
	CodeReplyTooLarge
	CodeCredit
	codeEnd
)

// The world's errors, as a caller sorts them.
var (
	ErrLinkDown   = errors.New("netio: the connection is gone; whether the request was served is unknown")
	ErrDeadline   = errors.New("netio: no answer before the deadline")
	ErrCanceled   = errors.New("netio: the caller gave up")
	ErrStopped    = errors.New("netio: the server is stopping")
	ErrReplyLarge = errors.New("netio: the reply does not fit into what the caller offered")
)

// Why a connection ended, besides what the peer did wrong.
var (
	errClosed  = errors.New("netio: the peer closed the connection")
	errDrain   = errors.New("netio: the server stopped waiting for outstanding requests")
	errGoodbye = errors.New("netio: goodbye")
	errDropped = errors.New("netio: closed by this side")
	errDoor    = errors.New("netio: accepting failed")
	errNoHello = errors.New("netio: no valid HELLO in time")
)

// ProtocolError: the peer sent what no correct peer sends. The connection ends with it.
type ProtocolError struct {
	Peer  string // who; filled in by the connection
	Code  Code
	Field string
	Want  uint64
	Got   uint64
}

func (e *ProtocolError) Error() string {
	from := ""
	if e.Peer != "" {
		from = " from " + e.Peer
	}
	if e.Code == CodeVersion {
		return fmt.Sprintf("netio: this side speaks version %d of the protocol, the peer%s speaks %d: use programs of the same release on both ends", e.Want, from, e.Got)
	}
	if e.Code == CodeNoShard {
		return fmt.Sprintf("netio: there is no shard %d here: this is %s", e.Got, e.shards())
	}
	return fmt.Sprintf("netio: bad frame%s: field %s is %#x, want or limit %#x", from, e.Field, e.Got, e.Want)
}

// shards says what there is instead: the front door knows how many, a connection only its own.
func (e *ProtocolError) shards() string {
	switch {
	case e.Field == fieldShard:
		return fmt.Sprintf("a connection to shard %d", e.Want)
	case e.Want == 1:
		return "a node with one shard, number 0"
	}
	return fmt.Sprintf("a node with %d shards, counted from 0", e.Want)
}

// The fields of a frame that names the wrong shard, and of a HELLO that does.
const (
	fieldShard = "shard"
	fieldHello = "shard of HELLO"
)

//go:noinline
func malformed(field string, want, got uint64) *ProtocolError {
	return &ProtocolError{Code: CodeMalformed, Field: field, Want: want, Got: got}
}

//go:noinline
func wrongVersion(got uint8) *ProtocolError {
	return &ProtocolError{Code: CodeVersion, Field: "version", Want: Version, Got: uint64(got)}
}

// RemoteError is an ERROR frame: the other side's sentence, usually a server's.
type RemoteError struct {
	Code     Code
	Sentence string
}

func (e *RemoteError) Error() string { return "netio: the server says: " + e.Sentence }

// Is maps the codes that a caller sorts by.
func (e *RemoteError) Is(target error) bool {
	switch target {
	case ErrDeadline:
		return e.Code == CodeDeadline
	case ErrStopped:
		return e.Code == CodeStopping
	case ErrReplyLarge:
		return e.Code == CodeReplyTooLarge
	}
	return false
}

func appendErrorBody(dst []byte, code Code, sentence string) []byte {
	sentence = strings.TrimPrefix(sentence, "netio: ")
	if len(sentence) > sentenceMax {
		sentence = sentence[:sentenceMax]
	}
	dst = binary.LittleEndian.AppendUint16(dst, uint16(code))
	return append(dst, sentence...)
}

func decodeErrorBody(b []byte) (*RemoteError, *ProtocolError) {
	if len(b) < 2 {
		return nil, malformed("error body", 2, uint64(len(b)))
	}
	code := Code(binary.LittleEndian.Uint16(b))
	if code == 0 || code >= codeEnd {
		return nil, malformed("error code", uint64(codeEnd-1), uint64(code))
	}
	return &RemoteError{Code: code, Sentence: string(b[2:])}, nil
}
