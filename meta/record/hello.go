package record

import "encoding/binary"

// Hello opens a session: the body of the HELLO frame. Every connection of a mount is a session of its own; they share the mount's
// identity, and with it the opens and the grant to cache.
type Hello struct {
	Version   uint16
	WantCache bool
	Mount     [16]byte // drawn at random when the mount starts
	Session   uint64   // of this mount; the same after a reconnection, never 0
	LastTxn   uint64   // the highest transaction number this session has been answered with
	Client    []byte   // a name for people; aliases the body after Decode
}

const helloHead = 2 + 1 + 1 + 16 + 8 + 8 + 2

// Append encodes h behind b.
func (h *Hello) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, h.Version)
	b = append(b, flag(h.WantCache), 0)
	b = append(b, h.Mount[:]...)
	b = le.AppendUint64(b, h.Session)
	b = le.AppendUint64(b, h.LastTxn)
	b = le.AppendUint16(b, uint16(len(h.Client)))
	return append(b, h.Client...)
}

// Decode reads h.
func (h *Hello) Decode(b []byte) error {
	if len(b) < helloHead {
		return &CorruptError{What: "hello length", Want: helloHead, Got: uint64(len(b))}
	}
	le := binary.LittleEndian
	*h = Hello{Version: le.Uint16(b), WantCache: b[2] == 1, Session: le.Uint64(b[20:]), LastTxn: le.Uint64(b[28:])}
	copy(h.Mount[:], b[4:])
	n := int(le.Uint16(b[36:]))
	switch {
	case b[2] > 1 || b[3] != 0:
		return &CorruptError{What: "hello flags", Off: 2, Want: 1, Got: uint64(b[2])}
	case n > ClientMax || n != len(b)-helloHead:
		return &CorruptError{What: "hello client", Off: 36, Want: uint64(len(b) - helloHead), Got: uint64(n)}
	case h.Session == 0:
		return &CorruptError{What: "hello session", Off: 20, Want: 1}
	}
	h.Client = b[helloHead : helloHead+n : helloHead+n]
	return nil
}

// Welcome is the answer: what the client must know of the file system, and what it has to do first.
type Welcome struct {
	Version     uint16
	Flags       uint16   // WelcomeFlags
	FS          [16]byte // identity of the file system
	Incarnation uint64   // changes whenever the server restarts; a client that sees another one than before replays
	Committed   uint64   // highest committed transaction: older ones need no replay
	Groups      uint32   // placement groups
	StripeSize  uint32   // bytes
	InlineMax   uint32   // bytes
	LeaseMs     uint32   // a session out of touch for longer has lost its opens and its grant
}

// WelcomeFlags
const (
	WelcomeCache  uint16 = 1 << 0 // the mount may cache until recalled
	WelcomeReplay uint16 = 1 << 1 // the server is recovering: send open files and REPLAYs, then REPLAYDONE, before anything else
	WelcomeNew    uint16 = 1 << 2 // the server does not know this session: what it held before (opens, unanswered requests) is gone
	welcomeFlags  uint16 = 1<<3 - 1
)

const welcomeSize = 2 + 2 + 16 + 8 + 8 + 4*4

// Append encodes w behind b.
func (w *Welcome) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, w.Version)
	b = le.AppendUint16(b, w.Flags)
	b = append(b, w.FS[:]...)
	b = le.AppendUint64(b, w.Incarnation)
	b = le.AppendUint64(b, w.Committed)
	b = le.AppendUint32(b, w.Groups)
	b = le.AppendUint32(b, w.StripeSize)
	b = le.AppendUint32(b, w.InlineMax)
	return le.AppendUint32(b, w.LeaseMs)
}

// Decode reads w.
func (w *Welcome) Decode(b []byte) error {
	if len(b) != welcomeSize {
		return &CorruptError{What: "welcome length", Want: welcomeSize, Got: uint64(len(b))}
	}
	le := binary.LittleEndian
	*w = Welcome{Version: le.Uint16(b), Flags: le.Uint16(b[2:]), Incarnation: le.Uint64(b[20:]), Committed: le.Uint64(b[28:]),
		Groups: le.Uint32(b[36:]), StripeSize: le.Uint32(b[40:]), InlineMax: le.Uint32(b[44:]), LeaseMs: le.Uint32(b[48:])}
	copy(w.FS[:], b[4:])
	if w.Flags&^welcomeFlags != 0 {
		return &CorruptError{What: "welcome flags", Off: 2, Want: uint64(welcomeFlags), Got: uint64(w.Flags)}
	}
	if w.StripeSize == 0 || w.Groups == 0 || w.LeaseMs == 0 {
		return &CorruptError{What: "welcome geometry", Off: 36, Want: 1}
	}
	return nil
}

// Recall takes the grant to cache back: the body of RECALL, and of RECALLED when the client has dropped its caches.
type Recall struct {
	Grant uint64 // number of the grant that ends
}

// Append encodes r behind b.
func (r *Recall) Append(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, r.Grant) }

// Decode reads r.
func (r *Recall) Decode(b []byte) error {
	if len(b) != 8 {
		return &CorruptError{What: "recall length", Want: 8, Got: uint64(len(b))}
	}
	r.Grant = binary.LittleEndian.Uint64(b)
	return nil
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}
