package storage

import "testing"

// Extents that touch become one in a list and when it is sorted, but not where an extent of the space ends: nobody could give them back.
func TestExtentListsKeepTheEndsOfTheSpace(t *testing.T) {
	pool := extentPool{space: []Extent{{Start: 100, Len: 100}, {Start: 200, Len: 100}}}
	var l extentList
	for _, e := range []Extent{{Start: 190, Len: 5}, {Start: 195, Len: 5}, {Start: 200, Len: 5}, {Start: 205, Len: 5}, {Start: 100, Len: 90}} {
		l.add(e, &pool)
	}
	check := func(want ...Extent) {
		t.Helper()
		for _, w := range want {
			if e, ok := l.next(&pool); !ok || e != w {
				t.Fatalf("%v, not %v", e, w)
			}
		}
		if e, ok := l.next(&pool); ok {
			t.Fatalf("%v more", e)
		}
	}
	var m extentSort
	m.begin(l, &pool)
	for m.step() > 0 {
	}
	l = m.take()
	check(Extent{Start: 100, Len: 100}, Extent{Start: 200, Len: 10})
}
