package sim

import (
	"strings"
	"testing"

	"basalt/engine"
)

// Who is confined may read everything, and write where it may; a write anywhere else never reaches the disk.
func TestConfine(t *testing.T) {
	w := NewWorld(1)
	defer w.Close()
	d := w.Disk("shared", 1<<20)
	r, other := w.reactor(t), w.reactor(t)
	d.Confine(r, func(off, n int64) bool { return off >= 8192 && off+n <= 16384 })
	write := func(r *engine.Reactor, off int64, n int) (said string) {
		defer func() {
			if p := recover(); p != nil {
				said = p.(string)
			}
		}()
		err := w.Do(r, func(f *engine.Fiber) error {
			h, err := d.Device().Attach(f.Turn())
			if err != nil {
				return err
			}
			buf, err := f.Reactor().Arena().Get(16384)
			if err != nil {
				return err
			}
			p := f.Reactor().Arena().Bytes(buf)[:n:n]
			if err := h.Read(f, p, off); err != nil {
				return err
			}
			return h.Write(f, p, off)
		})
		if err != nil {
			t.Fatal(err)
		}
		return ""
	}
	if said := write(r, 8192, 8192); said != "" {
		t.Errorf("a write inside: %s", said)
	}
	if said := write(other, 0, 4096); said != "" {
		t.Errorf("a write of somebody who is not confined: %s", said)
	}
	ops := d.Ops()
	if said := write(r, 12288, 8192); !strings.Contains(said, "reactor 1: write of 8192 bytes at 12288") {
		t.Errorf("a write over the end: %q", said)
	}
	if d.Ops() != ops+1 { // the read
		t.Error("it reached the disk")
	}
}
