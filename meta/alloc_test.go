package meta

import (
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/meta/record"
)

// What the namespace itself allocates for a request of the common kinds is nothing; what is counted here includes the store, which has its own
// budget. The numbers are limits, to be lowered.
func TestAllocationsPerRequest(t *testing.T) {
	e, err := newEstate(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.w.Close()
	for _, err := range []error{e.format(), e.mount(), e.serve()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	err = e.do(func(f *engine.Fiber) error {
		a := asker{f, e.s, e.sess}
		p, err := a.ask(create(root, "f", 0), nil, nil)
		if err != nil {
			return err
		}
		ino := p.Attr.Ino
		small, buf := pattern(1000, 1), make([]byte, 4096)
		var q record.Request
		var rep record.Reply
		n := 0
		ops := []struct {
			limit float64
			make  func()
		}{
			{0, func() { q = record.Request{Op: record.OpGetAttr, Ino: ino} }},
			{0, func() { q = record.Request{Op: record.OpLookup, Dir: root, Name: buf[:1]} }},
			{0, func() { q = record.Request{Op: record.OpRead, Ino: ino, Count: 4096} }},
			{1, func() { q = record.Request{Op: record.OpWrite, Ino: ino} }},
			{1, func() { q = record.Request{Op: record.OpSetAttr, Ino: ino, Valid: record.SetMode} }},
			{1, func() {
				q = record.Request{Op: record.OpCreate, Dir: root, Name: fmt.Appendf(buf[:0], "f%d", n), Flags: record.FlagNoOpen}
			}},
			{1, func() { q = record.Request{Op: record.OpUnlink, Dir: root, Name: fmt.Appendf(buf[:0], "f%d", n-21)} }},
		}
		buf[0] = 'f'
		for _, op := range ops {
			got := testing.AllocsPerRun(20, func() {
				op.make()
				q.NowNs = 1
				var data []byte
				if q.Op == record.OpWrite {
					data = small
				}
				e.s.Do(f, e.sess, &q, data, &rep, buf[1:])
				if rep.Status != record.OK {
					err = fmt.Errorf("%v: %v", q.Op, rep.Status)
				}
				n++
			})
			t.Logf("%v: %v allocations", q.Op, got)
			if got > op.limit {
				t.Errorf("%v: %v allocations, at most %v", q.Op, got, op.limit)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
