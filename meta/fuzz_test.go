package meta

import (
	"testing"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"
)

// Whatever bytes a peer sends as the body of a frame, it gets an answer, and the namespace stays whole.
func FuzzServe(f *testing.F) {
	for _, q := range []record.Request{lookup(root, "d"), create(root, "x", 0), rename(root, "d", root, "e", 0), truncate(2, 5),
		{Op: record.OpReadDir, Ino: root, Count: 4096}, {Op: record.OpRead, Ino: 2, Count: 100}, {Op: record.OpSetXattr, Ino: 2, Name: name("user.a"), Value: name("v")}} {
		f.Add(uint8(0), q.Append(nil), []byte("data"))
	}
	f.Add(uint8(1), []byte{1, 2, 3}, []byte{})
	f.Fuzz(func(t *testing.T, kind uint8, body, data []byte) {
		if len(body) > netio.BodyMax || len(data) > testStripe {
			return
		}
		var q record.Request
		if q.Decode(body) == nil && (q.Off > 1<<24 || q.Size > 1<<24) && q.Off < record.SizeMax && q.Size < record.SizeMax {
			return // far ends of sparse files are right but slow with such small stripes
		}
		h := newWireHouse(t, 1)
		defer h.w.Close()
		c := h.wire(1, 1)
		c.ask(record.OK, record.Request{Op: record.OpMkdir, Dir: root, Name: name("d")}, nil)
		kinds := []netio.Kind{netio.KindRequest, netio.KindReplay, netio.KindReplayDone}
		c.frame(kinds[int(kind)%3], 7, 1, body, data)
		h.do(func(f *engine.Fiber) {
			h.s.Notice(f.Turn(), c.conn, netio.KindRecalled, body)
			if _, err := h.s.Attach(f, &netio.Conn{}, body); err == nil && len(body) < 38 {
				t.Error("welcome without a greeting")
			}
		})
		h.settle()
		h.check()
	})
}
