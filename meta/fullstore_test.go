package meta

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/meta/record"
)

// cram makes files until the store takes nothing more, one large and the others small, and returns the names of the small ones.
func (e *estate) cram(f *engine.Fiber, l *load) (names []string, err error) {
	big := l.do(f, create(root, "big", record.FlagNoOpen), nil).Attr.Ino
	for off := 0; off < estateDisk/3; off += l.stripe {
		l.do(f, record.Request{Op: record.OpWrite, Ino: big, Off: uint64(off)}, pattern(l.stripe, 9))
	}
	for refused := 0; refused < 3; {
		s := fmt.Sprintf("f%05d", len(names))
		if p := l.do(f, create(root, s, record.FlagNoOpen), nil); p.Status == record.OK {
			names = append(names, s)
			l.do(f, record.Request{Op: record.OpWrite, Ino: p.Attr.Ino}, pattern(len(names)%600, 3))
		} else if p.Status == record.NoSpace {
			refused++
		} else {
			return names, p.Status
		}
	}
	return names, l.bad
}

// On a full store a file can be removed whatever others do: renames to longer names, again and again, use up what is kept for them, and not what
// is kept for removals.
func TestRenamesOnAFullStoreLeaveTheWayOut(t *testing.T) {
	e, err := newEstate(71, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.w.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(e.format())
	must(e.mount())
	must(e.serve())
	l := newLoad(rand.New(rand.NewPCG(71, 1)), estateStripe)
	l.attach(e.s, e.sess)
	must(e.do(func(f *engine.Fiber) error {
		names, err := e.cram(f, l)
		if err != nil {
			return err
		}
		renamed, refused := 0, 0
		for turn := range 4 {
			for i, from := range names {
				to := fmt.Sprintf("%s.%d%s", from[:6], turn, strings.Repeat(string(rune('a'+turn)), 240))
				switch p := l.do(f, rename(root, from, root, to, 0), nil); p.Status {
				case record.OK:
					names[i] = to
					renamed++
				case record.NoSpace:
					refused++
				default:
					return p.Status
				}
				l.do(f, record.Request{Op: record.OpSetAttr, Ino: root, Valid: record.SetMode, Mode: uint32(0o700 + turn)}, nil)
			}
		}
		t.Logf("%d files, %d renames, %d were refused; %+v", len(names), renamed, refused, e.store.Space())
		if renamed < 30 || refused == 0 {
			return fmt.Errorf("%d renames of %d files, %d were refused", renamed, len(names), refused)
		}
		for i, s := range names {
			if p := l.do(f, unlink(root, s), nil); p.Status != record.OK {
				return fmt.Errorf("unlink of file %d of %d after the renames: %w", i, len(names), p.Status)
			}
		}
		if p := l.do(f, unlink(root, "big"), nil); p.Status != record.OK {
			return p.Status
		}
		again, err := e.cram(f, l)
		if err == nil && len(again) < len(names)*9/10 {
			err = fmt.Errorf("%d files the first time, %d the second", len(names), len(again))
		}
		return err
	}))
	must(e.check(0))
	must(e.unmount())
	must(e.fsck())
}
