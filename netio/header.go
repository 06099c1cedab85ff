package netio

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Kind says what a frame is. The numbers are the wire's (docs/PROTOCOL.md).
type Kind uint8

const (
	KindHello Kind = 1 + iota
	KindWelcome
	KindRequest
	KindReply
	KindRecall
	KindRecalled
	KindReplay
	KindReplayDone
	KindPing
	KindPong
	KindGoodbye
	KindError
	kindEnd
)

var kindNames = [kindEnd]string{
	"none", "HELLO", "WELCOME", "REQUEST", "REPLY", "RECALL", "RECALLED", "REPLAY", "REPLAYDONE", "PING", "PONG", "GOODBYE", "ERROR",
}

func (k Kind) String() string {
	if k < kindEnd {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

const (
	HeaderLen = 64
	Magic     = 0x544C5342 // "BSLT", little-endian
	Version   = 1

	FlagOneWay uint16 = 1 // REQUEST: nobody waits, no reply is sent
	flagsKnown        = FlagOneWay
)

// Header is the fixed part of a frame, decoded. Lengths, checksums, magic and version are netio's own business: they are
// written by the encoder and checked by the decoder.
type Header struct {
	Kind       Kind
	Flags      uint16
	Shard      uint16
	Group      uint16 // placement group
	Epoch      uint32 // of the cluster map
	ReqID      uint64
	DeadlineMs uint32 // how long the caller waits; 0 = no limit
	Txn        uint64 // reply: the transaction this request made; REPLAY: the number it had
	Committed  uint64 // reply: transactions on media up to here; request: replyMax, the most payload the reply may carry

	bodyLen    uint32
	payloadLen uint32
	bodyCrc    uint32
	payloadCrc uint32
}

// BodyLen and PayloadLen are what the frame announced (and the decoder bounded).
func (h *Header) BodyLen() int    { return int(h.bodyLen) }
func (h *Header) PayloadLen() int { return int(h.payloadLen) }

// ReplyMax is the most payload that the reply to this request may carry.
func (h *Header) ReplyMax() int { return int(h.Committed) }

// OneWay: nobody waits for an answer.
func (h *Header) OneWay() bool { return h.Flags&FlagOneWay != 0 }

// cost is what a request takes from the byte credit until it is answered.
func (h *Header) cost() int {
	if h.OneWay() {
		return 0
	}
	return HeaderLen + int(h.bodyLen) + int(h.payloadLen) + int(h.Committed)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is crc32c; nothing has checksum 0, as the header says.
func checksum(p []byte) uint32 {
	if len(p) == 0 {
		return 0
	}
	return crc32.Update(0, castagnoli, p)
}

func checksumUpdate(crc uint32, p []byte) uint32 { return crc32.Update(crc, castagnoli, p) }

// EncodeHeader writes h to the first HeaderLen bytes of dst.
func EncodeHeader(dst []byte, h *Header) {
	b := dst[:HeaderLen:HeaderLen]
	le := binary.LittleEndian
	le.PutUint32(b[0:], Magic)
	b[4] = Version
	b[5] = byte(h.Kind)
	le.PutUint16(b[6:], h.Flags)
	le.PutUint16(b[8:], h.Shard)
	le.PutUint16(b[10:], h.Group)
	le.PutUint32(b[12:], h.Epoch)
	le.PutUint64(b[16:], h.ReqID)
	le.PutUint32(b[24:], h.DeadlineMs)
	le.PutUint32(b[28:], h.bodyLen)
	le.PutUint32(b[32:], h.payloadLen)
	le.PutUint32(b[36:], h.payloadCrc)
	le.PutUint64(b[40:], h.Txn)
	le.PutUint64(b[48:], h.Committed)
	le.PutUint32(b[56:], h.bodyCrc)
	le.PutUint32(b[60:], crc32.Update(0, castagnoli, b[:60]))
}

// DecodeHeader reads and checks the first HeaderLen bytes of src. It allocates only to describe an error.
func DecodeHeader(src []byte, h *Header) *ProtocolError {
	if len(src) < HeaderLen {
		return malformed("header", HeaderLen, uint64(len(src)))
	}
	b := src[:HeaderLen:HeaderLen]
	le := binary.LittleEndian
	if m := le.Uint32(b[0:]); m != Magic {
		return malformed("magic", Magic, uint64(m))
	}
	if b[4] != Version {
		return wrongVersion(b[4])
	}
	if got, want := crc32.Update(0, castagnoli, b[:60]), le.Uint32(b[60:]); got != want {
		return malformed("headerCrc", uint64(want), uint64(got))
	}
	h.Kind = Kind(b[5])
	h.Flags = le.Uint16(b[6:])
	h.Shard = le.Uint16(b[8:])
	h.Group = le.Uint16(b[10:])
	h.Epoch = le.Uint32(b[12:])
	h.ReqID = le.Uint64(b[16:])
	h.DeadlineMs = le.Uint32(b[24:])
	h.bodyLen = le.Uint32(b[28:])
	h.payloadLen = le.Uint32(b[32:])
	h.payloadCrc = le.Uint32(b[36:])
	h.Txn = le.Uint64(b[40:])
	h.Committed = le.Uint64(b[48:])
	h.bodyCrc = le.Uint32(b[56:])
	return h.check()
}

// check holds every rule about a header that does not depend on who receives it.
func (h *Header) check() *ProtocolError {
	if h.Kind == 0 || h.Kind >= kindEnd {
		return malformed("kind", uint64(kindEnd-1), uint64(h.Kind))
	}
	if h.Flags&^flagsKnown != 0 || (h.OneWay() && h.Kind != KindRequest) {
		return malformed("flags", 0, uint64(h.Flags))
	}
	bodyMax, payloadMax := frameBounds(h.Kind)
	if h.OneWay() {
		payloadMax = 0
	}
	if int64(h.bodyLen) > int64(bodyMax) {
		return malformed("bodyLen", uint64(bodyMax), uint64(h.bodyLen))
	}
	if int64(h.payloadLen) > int64(payloadMax) {
		return malformed("payloadLen", uint64(payloadMax), uint64(h.payloadLen))
	}
	if h.bodyLen == 0 && h.bodyCrc != 0 {
		return malformed("bodyCrc", 0, uint64(h.bodyCrc))
	}
	if h.payloadLen == 0 && h.payloadCrc != 0 {
		return malformed("payloadCrc", 0, uint64(h.payloadCrc))
	}
	if h.isRequest() && h.Committed > PayloadMax {
		return malformed("replyMax", PayloadMax, h.Committed)
	}
	return nil
}

// isRequest: a frame that a handler serves and that costs credit.
func (h *Header) isRequest() bool {
	return h.Kind == KindRequest || h.Kind == KindReplay || h.Kind == KindReplayDone
}

// frameBounds says how much body and payload a kind may carry.
func frameBounds(k Kind) (body, payload int) {
	switch k {
	case KindHello, KindWelcome, KindError:
		return handshakeBodyMax, 0
	case KindRequest, KindReplay, KindReply:
		return BodyMax, PayloadMax
	case KindReplayDone, KindRecall, KindRecalled:
		return BodyMax, 0
	}
	return 0, 0
}
