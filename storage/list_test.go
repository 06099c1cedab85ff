package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"basalt/engine"
)

// list is one page of collection c.
func (b *bench) list(c Coll, after string, limit int) (names []string, more bool, err error) {
	err = b.w.Do(b.r, func(f *engine.Fiber) error {
		return b.s.View(f, func(tx *Tx) (err error) {
			names = nil
			more, err = tx.Objects(c, []byte(after), limit, func(name []byte, info ObjectInfo) bool {
				names = append(names, fmt.Sprintf("%s:%d", name, info.Size))
				return true
			})
			return err
		})
	})
	return names, more, err
}

func TestListPages(t *testing.T) {
	b := newShelf(t, 31)
	b.update(func(tx *Tx) error {
		err := errors.Join(tx.CreateCollection(0), tx.CreateCollection(2), tx.Put(1, []byte("key"), nil),
			tx.Create(0, []byte("zzz")), tx.Create(2, []byte("a")))
		for i, n := range []string{"b", "aa", "a", "\xff", "ab\x00", "ab", strings.Repeat("n", ObjectNameMax)} {
			err = errors.Join(err, tx.Write(1, []byte(n), 0, make([]byte, i+1)))
		}
		return err
	})
	want := []string{"a:3", "b:1", "\xff:4", "aa:2", "ab:6", "ab\x00:5", strings.Repeat("n", ObjectNameMax) + ":7"}
	for range 2 { // from the delta, and from the tree
		for limit := range 9 {
			var got []string
			for after, more, pages := "", true, 0; more; pages++ {
				page, again, err := b.list(1, after, limit)
				if err != nil || limit > 0 && len(page) > limit || again && len(page) == 0 {
					t.Fatalf("limit %d: page %q, %v", limit, page, err)
				}
				if got, more = append(got, page...), again; again {
					after, _, _ = strings.Cut(page[len(page)-1], ":")
				}
				if want := (len(want) - 1) / max(1, limit); limit > 0 && !more && pages != want {
					t.Fatalf("limit %d: %d full pages, want %d", limit, pages, want)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("limit %d: %q", limit, got)
			}
		}
		b.do(b.s.Checkpoint)
	}
	if got, more, err := b.list(1, "aaa", 1); len(got) != 1 || got[0] != "ab\x00:5" || !more || err != nil {
		t.Fatalf("behind an object that never was: %q %v %v", got, more, err)
	}
	for what, err := range map[string]error{
		"limit":      b.listError(1, "", ListMax+1),
		"negative":   b.listError(1, "", -1),
		"name":       b.listError(1, strings.Repeat("n", ObjectNameMax+1), 1),
		"collection": b.listError(3, "", 1),
	} {
		if want := map[bool]error{true: ErrNotFound, false: ErrInvalid}[what == "collection"]; !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func (b *bench) listError(c Coll, after string, limit int) error {
	_, _, err := b.list(c, after, limit)
	return err
}

// A listing in pages while objects come and go: those that stay are listed once. The cursor's own object may go too.
func TestListUnderChange(t *testing.T) {
	b := newShelf(t, 32)
	name := func(i int) []byte { return []byte(fmt.Sprintf("o%03d", i)) }
	for i := range 300 {
		b.update(func(tx *Tx) error { return tx.Create(1, name(i)) })
	}
	b.do(b.s.Checkpoint)
	seen := map[string]int{}
	after, more := "", true
	for round := 0; more; round++ {
		page, again, err := b.list(1, after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range page {
			n, _, _ = strings.Cut(n, ":")
			seen[n]++
			after = n
		}
		more = again
		b.update(func(tx *Tx) error { // every third object goes, some before the listing met them and some after; new ones come
			err := tx.Create(1, []byte(fmt.Sprintf("n%d", round)))
			if i := 3 * ((round * 37) % 100); err == nil {
				if err = tx.Remove(1, name(i)); errors.Is(err, ErrNotFound) {
					err = nil
				}
			}
			if round%5 == 0 && after[0] == 'o' && err == nil { // the cursor itself, which then comes back
				err = errors.Join(tx.Remove(1, []byte(after)), tx.Create(1, []byte(after)))
			}
			return err
		})
		if round%10 == 0 {
			b.do(b.s.Checkpoint)
		}
	}
	for i := range 300 {
		if n := seen[string(name(i))]; n > 1 || n == 0 && i%3 != 0 {
			t.Errorf("object %d was listed %d times", i, n)
		}
	}
}

// Large attributes make pages shorter: what a page visits is in memory at once.
func TestListOfLargeAttributes(t *testing.T) {
	b := newShelf(t, 33)
	for i := range 160 {
		b.update(func(tx *Tx) error {
			return tx.SetAttr(1, []byte(fmt.Sprintf("o%03d", i)), []byte("a"), bytes.Repeat([]byte("x"), 14<<10))
		})
	}
	b.do(b.s.Checkpoint)
	total, pages := 0, 0
	for after, more := "", true; more; pages++ {
		page, again, err := b.list(1, after, 0)
		if err != nil {
			t.Fatal(err)
		}
		total, more = total+len(page), again
		after, _, _ = strings.Cut(page[len(page)-1], ":")
	}
	if total != 160 || pages != 3 {
		t.Fatalf("%d objects on %d pages", total, pages)
	}
}
