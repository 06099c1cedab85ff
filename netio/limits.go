package netio

import (
	"fmt"
	"time"
)

// Bounds of a frame: part of the protocol, so constants.
const (
	BodyMax          = 68 << 10 // the largest value of 64 KiB, and what surrounds it
	PayloadMax       = 1 << 20
	handshakeBodyMax = 4 << 10
	helloPrefixLen   = 8
	welcomePrefixLen = 16
	sentenceMax      = 1 << 10
	HelloMax         = handshakeBodyMax - helloPrefixLen   // the session's bytes in HELLO
	WelcomeMax       = handshakeBodyMax - welcomePrefixLen // and in WELCOME
)

// How buffers are cut.
const (
	recvBufMin    = 32 << 10  // what a connection receives into
	recvBufMax    = 128 << 10 // grown to this by the first frame that needs it; must hold the largest header and body
	gatherLen     = 32 << 10  // frames gathered for one send
	gatherLarge   = 128 << 10 // a gather buffer for a frame with a large body
	copyMax       = 16 << 10  // a payload up to this is copied beside its header; a larger one is sent from where it lies
	bodyKeep      = 8 << 10   // memory for bodies that a pooled request keeps
	checksumPiece = 64 << 10  // checksummed at once; then others run
	skipRoom      = 4 << 10   // a payload that nobody wants is received in pieces of at least this
	iovecsMax     = 64        // buffers in one send
	sendBatch     = 1 << 20   // bytes after which a send is not extended by another buffer
)

// How long things are waited for that have no limit of their own.
const (
	lingerNs       = 1_000_000_000 // after our half is shut: for the peer to have read our last frame
	starvedRetryNs = 1_000_000     // memory and fibers may be given back by others
	watchMinNs     = 1_000_000
)

const _ = uint(recvBufMax - HeaderLen - BodyMax - skipRoom - 1)
const _ = uint(gatherLarge - HeaderLen - BodyMax - copyMax)

// Limits bound what peers can make a server or a link hold. Zero fields take the default.
type Limits struct {
	ConnsMax       int           // connections per shard
	CreditRequests int           // unanswered requests per connection
	CreditBytes    int           // unanswered bytes per connection, requests and replies
	ShardBytes     int           // the same over all connections of a shard
	OutBytes       int           // queued replies above which a connection is not served further
	Handshake      time.Duration // from accept to WELCOME
	Send           time.Duration // without progress of a send
	Idle           time.Duration // silence after which a side pings; three times this: dead
	Drain          time.Duration // at stop: for outstanding requests and replies
}

// DefaultLimits are what zero fields mean.
var DefaultLimits = Limits{
	ConnsMax:       256,
	CreditRequests: 1024,
	CreditBytes:    16 << 20,
	ShardBytes:     64 << 20,
	OutBytes:       2 << 20,
	Handshake:      10 * time.Second,
	Send:           30 * time.Second,
	Idle:           10 * time.Second,
	Drain:          10 * time.Second,
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	setInt := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	setDur := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	setInt(&l.ConnsMax, d.ConnsMax)
	setInt(&l.CreditRequests, d.CreditRequests)
	setInt(&l.CreditBytes, d.CreditBytes)
	setInt(&l.ShardBytes, d.ShardBytes)
	setInt(&l.OutBytes, d.OutBytes)
	setDur(&l.Handshake, d.Handshake)
	setDur(&l.Send, d.Send)
	setDur(&l.Idle, d.Idle)
	setDur(&l.Drain, d.Drain)
	return l
}

// frameMax is the most that one request costs, its reply included. It may be sent alone, however little the credit is.
const frameMax = HeaderLen + BodyMax + 2*PayloadMax

// check refuses limits under which the largest frame could never be served.
func (l *Limits) check() error {
	for _, x := range []struct {
		name           string
		v, least, most int64
	}{
		{"ConnsMax", int64(l.ConnsMax), 1, 1 << 16},
		{"CreditRequests", int64(l.CreditRequests), 1, 1 << 16},
		{"CreditBytes", int64(l.CreditBytes), 4096, 1 << 40},
		{"ShardBytes", int64(l.ShardBytes), frameMax, 1 << 40},
		{"OutBytes", int64(l.OutBytes), 1, 1 << 40},
		{"Handshake", int64(l.Handshake), int64(time.Millisecond), int64(time.Hour)},
		{"Send", int64(l.Send), int64(time.Millisecond), int64(time.Hour)},
		{"Idle", int64(l.Idle), int64(time.Millisecond), int64(time.Hour)},
		{"Drain", int64(l.Drain), int64(time.Millisecond), int64(time.Hour)},
	} {
		if x.v < x.least || x.v > x.most {
			return fmt.Errorf("netio: limit %s = %d, want %d…%d", x.name, x.v, x.least, x.most)
		}
	}
	return nil
}

// watchNs is how often time limits are looked at: a quarter of the shortest.
func (l *Limits) watchNs() int64 {
	return max(watchMinNs, int64(min(l.Handshake, l.Send, l.Idle))/4)
}
