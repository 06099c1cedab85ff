package netio

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"
	"golang.org/x/sys/unix"

	"basalt/engine"
)

// door is one listening socket with gnet behind it. It owns a connection until that has said a valid HELLO; then the connection moves to
// its shard's ring, or the door carries bytes between the two (gnet_carrier.go).
type door struct {
	gnet.BuiltinEventEngine

	cfg *ServerConfig // immutable
	lim Limits        // immutable

	engine   gnet.Engine // set by OnBoot, before booted is closed
	booted   chan struct{}
	ended    chan struct{}
	endErr   error // written before ended is closed
	stopping atomic.Bool
	carriers sync.WaitGroup // connections that stay on the loops

	mu      sync.Mutex
	waiting list.List // guarded by mu: *visitor without a HELLO, oldest first
}

// visitor is what the door knows of a connection. Owned by the connection's loop, but for what mu guards.
type visitor struct {
	conn    gnet.Conn
	since   time.Time
	elem    *list.Element // guarded by door.mu
	carrier *gnetCarrier  // after HELLO, transport gnet
}

const (
	visitorsMax   = 256                    // connections without a HELLO
	doorTick      = 100 * time.Millisecond // how often their time is looked at
	doorReadBytes = 256 << 10
)

// openDoor listens and starts gnet's loops.
func openDoor(network, address string, cfg *ServerConfig) (*door, error) {
	d := &door{cfg: cfg, lim: cfg.Ports[0].lim, booted: make(chan struct{}), ended: make(chan struct{})}
	opts := []gnet.Option{
		gnet.WithNumEventLoop(max(1, cfg.Loops)), gnet.WithReuseAddr(true), gnet.WithTCPNoDelay(gnet.TCPNoDelay),
		gnet.WithReadBufferCap(doorReadBytes), gnet.WithTicker(true), gnet.WithLogger(doorLog{}), gnet.WithLogLevel(logging.ErrorLevel),
	}
	go func() {
		d.endErr = gnet.Run(d, network+"://"+address, opts...)
		close(d.ended)
		d.tellFailure(address)
	}()
	select {
	case <-d.booted:
		return d, nil
	case <-d.ended:
		return nil, d.endErr
	}
}

// tellFailure: the loops have ended though nobody asked them to (gnet ends when it can't accept: out of descriptors). Connections that have
// moved to their ring live on.
func (d *door) tellFailure(address string) {
	select {
	case <-d.booted:
	default:
		return // Listen has the error
	}
	if !d.stopping.Load() && d.cfg.OnFail != nil {
		d.cfg.OnFail(fmt.Errorf("netio: nobody can connect to %s any more, the front door has ended: %w", address, errors.Join(errDoor, d.endErr)))
	}
}

// doorLog keeps gnet quiet: what matters reaches us as an error of a call or of Run.
type doorLog struct{}

func (doorLog) Debugf(string, ...any) {}
func (doorLog) Infof(string, ...any)  {}
func (doorLog) Warnf(string, ...any)  {}
func (doorLog) Errorf(string, ...any) {}
func (doorLog) Fatalf(format string, args ...any) {
	panic("netio: gnet: " + fmt.Sprintf(format, args...))
}

// shut ends the loops and waits for that; connections that are still the door's are closed.
func (d *door) shut() error {
	d.stopping.Store(true)
	d.awaitCarriers()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // Stop only has to begin it: what it would wait for, by polling, is told by ended
	if err := d.engine.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("netio: stopping the front door: %w", err)
	}
	<-d.ended
	return d.endErr
}

// awaitCarriers lets connections that the ports have ended send the rest. Each has a time limit for that; one of a shard that ended
// without its connections is not waited for longer.
func (d *door) awaitCarriers() {
	done := make(chan struct{})
	go func() {
		d.carriers.Wait()
		close(done)
	}()
	patience := time.NewTimer(d.lim.Drain + time.Second)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	}
}

// boundTCP is the address that the kernel gave.
func (d *door) boundTCP(address string) (string, error) {
	fd, err := d.engine.DupListener("tcp", address)
	if err != nil {
		return "", fmt.Errorf("netio: asking for the bound address: %w", err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	ln, err := net.FileListener(file)
	if err != nil {
		return "", fmt.Errorf("netio: asking for the bound address: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// OnBoot: the socket listens.
func (d *door) OnBoot(e gnet.Engine) gnet.Action {
	d.engine = e
	close(d.booted)
	return gnet.None
}

// OnOpen begins the handshake's time.
func (d *door) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	v := &visitor{conn: c, since: time.Now()}
	d.mu.Lock()
	full := d.waiting.Len() >= visitorsMax
	if !full && !d.stopping.Load() {
		v.elem = d.waiting.PushBack(v)
	}
	d.mu.Unlock()
	c.SetContext(v)
	switch {
	case d.stopping.Load():
		return refusal(CodeStopping, ErrStopped.Error()), gnet.Close
	case full:
		return refusal(CodeBusy, "netio: too many connections wait for their handshake"), gnet.Close
	}
	return nil, gnet.None
}

// OnTraffic takes what has arrived.
func (d *door) OnTraffic(c gnet.Conn) gnet.Action {
	v, ok := c.Context().(*visitor)
	if !ok {
		return gnet.Close
	}
	if v.carrier != nil {
		return v.carrier.traffic(c)
	}
	seen, err := c.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	port, whole, perr := d.readHello(seen)
	switch {
	case perr != nil:
		return refuse(c, perr)
	case !whole:
		return gnet.None
	case d.stopping.Load():
		c.Write(refusal(CodeStopping, ErrStopped.Error()))
		return gnet.Close
	}
	return d.handOver(c, v, port, seen)
}

// readHello judges the bytes so far; the first wrong one is enough.
func (d *door) readHello(seen []byte) (port *Port, whole bool, perr *ProtocolError) {
	magic := binary.LittleEndian.AppendUint32(nil, Magic)
	for i := range min(len(seen), len(magic)) {
		if seen[i] != magic[i] {
			return nil, false, malformed("magic", uint64(magic[i]), uint64(seen[i]))
		}
	}
	if len(seen) < HeaderLen {
		return nil, false, nil
	}
	var h Header
	if perr := DecodeHeader(seen, &h); perr != nil {
		return nil, false, perr
	}
	if h.Kind != KindHello {
		return nil, false, malformed("kind before HELLO", uint64(KindHello), uint64(h.Kind))
	}
	for _, p := range d.cfg.Ports {
		if p.shard == h.Shard {
			port = p
		}
	}
	if port == nil {
		return nil, false, &ProtocolError{Code: CodeNoShard, Field: fieldHello, Want: uint64(len(d.cfg.Ports)), Got: uint64(h.Shard)}
	}
	if len(seen) < HeaderLen+h.BodyLen() {
		return nil, false, nil
	}
	if got := checksum(seen[HeaderLen : HeaderLen+h.BodyLen()]); got != h.bodyCrc {
		return nil, false, malformed("bodyCrc", uint64(h.bodyCrc), uint64(got))
	}
	return port, true, nil
}

// handOver gives the connection, with every byte received so far, to the shard.
func (d *door) handOver(c gnet.Conn, v *visitor, port *Port, seen []byte) gnet.Action {
	a := &adoption{port: port, fd: -1, peer: c.RemoteAddr().Network() + " " + c.RemoteAddr().String(), prefix: append([]byte(nil), seen...)}
	d.leaveWaiting(v)
	action := gnet.None
	if d.cfg.Transport == TransportRing {
		fd, err := c.Dup()
		if err != nil {
			return gnet.Close
		}
		if err := unix.SetNonblock(fd, false); err != nil { // the ring waits, not the descriptor
			unix.Close(fd)
			return gnet.Close
		}
		a.fd, action = int32(fd), gnet.Close
	} else {
		if _, err := c.Discard(len(seen)); err != nil {
			return gnet.Close
		}
		v.carrier = newGnetCarrier(d, c, port)
		a.via = v.carrier
	}
	if err := port.r.Post(a); err != nil {
		if a.fd >= 0 {
			unix.Close(int(a.fd))
		}
		c.Write(refusal(CodeBusy, "netio: the shard is busy: "+err.Error()))
		return gnet.Close
	}
	return action
}

// adoption is a connection on its way to its shard.
type adoption struct {
	port   *Port
	fd     int32
	via    *gnetCarrier
	peer   string
	prefix []byte
}

// Deliver runs on the shard.
func (a *adoption) Deliver(t *engine.Turn) {
	if a.via == nil {
		a.port.Adopt(t, a.fd, a.peer, a.prefix)
		return
	}
	a.via.adopted(t, a.peer, a.prefix)
}

// Refuse: the shard stopped first.
func (a *adoption) Refuse(error) {
	if a.via == nil {
		unix.Close(int(a.fd))
		return
	}
	a.via.close(true)
}

// OnClose forgets the connection.
func (d *door) OnClose(c gnet.Conn, err error) gnet.Action {
	if v, ok := c.Context().(*visitor); ok {
		d.leaveWaiting(v)
		if v.carrier != nil {
			v.carrier.gone()
		}
	}
	return gnet.None
}

// OnTick closes those that have not said HELLO in time.
func (d *door) OnTick() (time.Duration, gnet.Action) {
	oldest := time.Now().Add(-d.lim.Handshake)
	d.mu.Lock()
	defer d.mu.Unlock()
	for e := d.waiting.Front(); e != nil && e.Value.(*visitor).since.Before(oldest); e = d.waiting.Front() {
		v := d.waiting.Remove(e).(*visitor)
		v.elem = nil
		if v.conn.AsyncWrite(refusal(CodeTimeout, errNoHello.Error()), closeAfter) != nil {
			v.conn.Close()
		}
	}
	return min(doorTick, d.lim.Handshake/4), gnet.None
}

func closeAfter(c gnet.Conn, _ error) error { return c.Close() }

func (d *door) leaveWaiting(v *visitor) {
	d.mu.Lock()
	if v.elem != nil {
		d.waiting.Remove(v.elem)
		v.elem = nil
	}
	d.mu.Unlock()
}

func refuse(c gnet.Conn, perr *ProtocolError) gnet.Action {
	c.Write(refusal(perr.Code, perr.Error()))
	return gnet.Close
}

// refusal is an ERROR frame about the connection.
func refusal(code Code, sentence string) []byte {
	body := appendErrorBody(nil, code, sentence)
	h := Header{Kind: KindError, bodyLen: uint32(len(body)), bodyCrc: checksum(body)}
	b := make([]byte, HeaderLen, HeaderLen+len(body))
	EncodeHeader(b, &h)
	return append(b, body...)
}
