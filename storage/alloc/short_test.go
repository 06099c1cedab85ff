package alloc

import (
	"testing"

	"basalt/storage/format"
)

// AllocShort takes what is of no use for pieces, the longest first, and never touches the rest.
func TestAllocShort(t *testing.T) {
	for piece, want := range map[format.BlockCount][]format.Extent{
		4: {{Start: 30, Len: 3}, {Start: 20, Len: 2}, {Start: 10, Len: 1}},
		3: {{Start: 20, Len: 2}, {Start: 10, Len: 1}},
		1: nil,
	} {
		a := New([]format.Extent{{Start: 0, Len: 200}}, piece)
		for _, e := range []format.Extent{{Start: 10, Len: 1}, {Start: 20, Len: 2}, {Start: 30, Len: 3}, {Start: 40, Len: 4}, {Start: 60, Len: 100}} {
			a.Free(e)
		}
		pieces := a.Pieces()
		for _, w := range want {
			if e, ok := a.AllocShort(5); !ok || e != w {
				t.Errorf("pieces of %d: got %v, %v, want %v", piece, e, ok, w)
			}
		}
		if e, ok := a.AllocShort(5); ok {
			t.Errorf("pieces of %d: got %v, nothing that short was left", piece, e)
		}
		if lost := pieces - a.Pieces(); lost != 0 {
			t.Errorf("pieces of %d: %d were lost", piece, lost)
		}
		a.Free(format.Extent{Start: 180, Len: 2})
		if e, ok := a.AllocShort(1); ok != (piece > 2) || ok && e != (format.Extent{Start: 180, Len: 1}) {
			t.Errorf("pieces of %d: one of two blocks: %v, %v", piece, e, ok)
		}
		if err := a.Check(); err != nil {
			t.Error(err)
		}
	}
}
