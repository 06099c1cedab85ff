package netio

import (
	"bytes"
	"testing"

	"basalt/engine"
	"basalt/engine/arena"
)

// A handler's payload without a buffer of its own is lent until Serve returns, however large the body beside it is.
func TestLentPayloadIsCopied(t *testing.T) {
	r := startReactor(t, "outbox", engine.Config{})
	err := r.Call(func(f *engine.Fiber) error {
		for _, n := range []int{0, 1, gatherLen - HeaderLen - copyMax, gatherLen - HeaderLen - copyMax + 1, gatherLen, BodyMax} {
			var o outbox
			body, payload := pattern(n), pattern(copyMax)
			want := append(append(make([]byte, HeaderLen), body...), payload...)
			o.frame(f.Reactor().Arena(), &Header{Kind: KindReply}, body, payload, arena.Buf{}, nil)
			clear(payload)
			got := bytes.Join(o.batch(make([][]byte, 0, iovecsMax)), nil)
			if len(got) != len(want) || !bytes.Equal(got[HeaderLen:], want[HeaderLen:]) {
				t.Errorf("a payload beside a body of %d bytes changed after it was given away", n)
			}
			o.clear(f.Turn())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
