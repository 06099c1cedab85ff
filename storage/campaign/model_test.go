package campaign

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// The model's objects against a plain slice of bytes.
func TestModelObjects(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	m := newModel()
	var plain []byte
	kept := make([][]byte, 1) // by transaction
	for seq := uint64(1); seq < 400; seq++ {
		m.begin(seq)
		if r.IntN(5) == 0 { // a run that is thrown away
			m.change(1, "o", func(o *object) { o.write(r.IntN(9000), fill(r, 5000)); o.resize(3) })
			m.remove(1, "o")
			m.begin(seq)
		}
		off, n := r.IntN(20_000), r.IntN(9000)
		m.change(1, "o", func(o *object) {
			switch r.IntN(4) {
			case 0:
				o.resize(off)
				plain = append(plain, make([]byte, max(0, off-len(plain)))...)[:off]
			case 1:
				o.zero(off, n)
				if off < len(plain) {
					clear(plain[off:min(len(plain), off+n)])
				}
			default:
				data := fill(r, n)
				o.write(off, data)
				if n > 0 || off > len(plain) {
					plain = append(plain, make([]byte, max(0, off+n-len(plain)))...)
				}
				copy(plain[off:], data)
			}
		})
		kept = append(kept, bytes.Clone(plain))
	}
	for seq := 1; seq < len(kept); seq++ {
		o, ok := m.object(1, "o", uint64(seq))
		if !ok || o.size != len(kept[seq]) {
			t.Fatalf("transaction %d: %v", seq, o)
		}
		if at := o.differs(kept[seq], 0); at >= 0 {
			t.Fatalf("transaction %d: byte %d differs", seq, at)
		}
	}
	m.forgetAfter(100)
	if o, _ := m.object(1, "o", 399); o.differs(kept[100], 0) >= 0 {
		t.Fatal("a forgotten transaction shows")
	}
}

// checkRead must reject what no state explains: a check that accepts everything finds nothing.
func TestModelJudgesReads(t *testing.T) {
	m := newModel()
	m.begin(1)
	m.change(1, "o", func(o *object) { o.write(0, bytes.Repeat([]byte("a"), 8192)) })
	m.begin(2)
	m.change(1, "o", func(o *object) { o.write(0, bytes.Repeat([]byte("b"), 10000)) })
	a, b := bytes.Repeat([]byte("a"), 4096), bytes.Repeat([]byte("b"), 4096)
	for _, c := range []struct {
		got      []byte
		notFound bool
		from, to uint64
		ok       bool
	}{
		{a, false, 1, 1, true}, {b, false, 1, 1, false}, {b, false, 1, 2, true}, {a, false, 1, 2, true}, {a, false, 2, 2, false},
		{a[:100], false, 1, 1, false}, {nil, true, 0, 1, true}, {nil, true, 1, 2, false},
		{append(bytes.Clone(a[:2048]), b[:2048]...), false, 1, 2, false},
	} {
		if err := m.checkRead(1, "o", 0, c.got, 4096, c.notFound, c.from, c.to); (err == nil) != c.ok {
			t.Errorf("%d bytes %.1q, %d to %d: %v", len(c.got), c.got, c.from, c.to, err)
		}
	}
}

func TestModelScans(t *testing.T) {
	m := newModel()
	m.begin(1)
	m.put(1, "a", []byte("1"))
	m.put(1, "b", []byte("2"))
	m.put(2, "a", []byte("3"))
	m.begin(2)
	m.delRange(1, "a", "b")
	m.clear(2)
	if got := m.scan(1, "", "", 1); len(got) != 2 || string(got[1].val) != "2" {
		t.Fatalf("at 1: %v", got)
	}
	if got := m.scan(1, "", "", 2); len(got) != 1 || got[0].key != "b" {
		t.Fatalf("at 2: %v", got)
	}
	if got := m.scan(2, "", "", 2); len(got) != 0 {
		t.Fatalf("cleared: %v", got)
	}
	if got := m.scan(1, "a", "b", 1); len(got) != 1 {
		t.Fatalf("range: %v", got)
	}
}
