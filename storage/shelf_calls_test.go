package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// step is one call of the interface inside a transaction. It is run on the model and on every store, and must have the same result.
type step struct {
	*call
	c        Coll
	name, hi string
	off, n   uint64
	limit    int
	data     string
}

func (s *step) String() string {
	return fmt.Sprintf("%s %d/%q …%q at %d+%d limit %d, %d bytes", s.what, s.c, s.name, s.hi, s.off, s.n, s.limit, len(s.data))
}

// call is one method of Tx, beside what the model does.
type call struct {
	what    string
	draw    func(t *rapid.T, s *step)
	onModel func(s *step, m *shelf) (string, error)
	onTx    func(s *step, tx *Tx) (string, error)
}

func onKeys(t *rapid.T, s *step) {
	s.name, s.hi = fmt.Sprintf("k%02d", rapid.IntRange(0, 30).Draw(t, "key")), fmt.Sprintf("k%02d", rapid.IntRange(0, 31).Draw(t, "hi"))
	n := rapid.SampledFrom([]int{0, 10, 700, 1500, 6000}).Draw(t, "length")
	s.data = strings.Repeat(string(rune(rapid.IntRange('a', 'z').Draw(t, "byte"))), n)
	s.limit = rapid.IntRange(0, 9).Draw(t, "limit")
}

var objectNames = []string{"a", "b", "aa", "o1", "o2", "long name"}

// lengths: the last two reach over many extents, and over nearly all of a sparse object.
var lengths = []int{0, 1, 100, 1024, 4096, 9000, 20000, 300000, ObjectBytesMax - 40000}

func onObject(t *rapid.T, s *step) {
	s.name = rapid.SampledFrom(objectNames).Draw(t, "object")
	s.off = uint64(rapid.IntRange(0, 40000).Draw(t, "offset"))
	if s.n = uint64(rapid.SampledFrom(lengths).Draw(t, "length")); rapid.Bool().Draw(t, "aligned") {
		s.off = s.off / blockSize * blockSize
	}
	s.off += rapid.SampledFrom([]uint64{0, 0, 0, 300000, ObjectBytesMax - 45000}).Draw(t, "far")
	s.hi = string(rune(rapid.IntRange('p', 's').Draw(t, "attribute")))
	s.limit = rapid.IntRange(1, 4).Draw(t, "limit")
}

func withData(t *rapid.T, s *step) {
	onObject(t, s)
	s.n = min(s.n, 20000)
	b, p := byte(rapid.IntRange(1, 255).Draw(t, "byte")), make([]byte, s.n)
	for i := range p {
		p[i] = b + byte(i>>9)
	}
	s.data = string(p)
}

// exists is the model's way of the checks that most methods begin with.
func exists(m *shelf, s *step) (*shelfObject, error) {
	if m.colls[s.c] == nil {
		return nil, ErrNotFound
	}
	if o := m.object(s.c, s.name); o != nil {
		return o, nil
	}
	return nil, ErrNotFound
}

// fits is what the model says of a step that writes up to end.
func fits(m *shelf, s *step, end uint64) error {
	switch {
	case m.colls[s.c] == nil:
		return ErrNotFound
	case end > ObjectBytesMax:
		return ErrTooLarge
	}
	return nil
}

// calls are all methods of Tx.
var calls = slices.Concat(keyCalls, objectCalls, cloneCalls, lookCalls)

const collectionCall = 3 // in keyCalls

var keyCalls = []call{
	{"put", onKeys, func(s *step, m *shelf) (string, error) {
		if m.colls[s.c] == nil {
			return "", ErrNotFound
		}
		m.colls[s.c].keys[s.name], m.changed = s.data, true
		return "", nil
	}, func(s *step, tx *Tx) (string, error) { return "", tx.Put(s.c, []byte(s.name), []byte(s.data)) }},

	{"delete", onKeys, func(s *step, m *shelf) (string, error) {
		if m.colls[s.c] == nil {
			return "", ErrNotFound
		}
		delete(m.colls[s.c].keys, s.name)
		m.changed = true
		return "", nil
	}, func(s *step, tx *Tx) (string, error) { return "", tx.Delete(s.c, []byte(s.name)) }},

	{"delete range", onKeys, func(s *step, m *shelf) (string, error) {
		if m.colls[s.c] == nil {
			return "", ErrNotFound
		}
		m.changed = true
		for k := range m.colls[s.c].keys {
			if k >= s.name && k < s.hi {
				delete(m.colls[s.c].keys, k)
			}
		}
		return "", nil
	}, func(s *step, tx *Tx) (string, error) { return "", tx.DeleteRange(s.c, []byte(s.name), []byte(s.hi)) }},

	{"collection", func(t *rapid.T, s *step) {
		if rapid.IntRange(0, 3).Draw(t, "which") > 0 {
			s.c = shelfColls // the others mostly stay
		}
	}, func(s *step, m *shelf) (string, error) {
		m.changed = true
		if m.colls[s.c] != nil {
			delete(m.colls, s.c)
			return "deleted", nil
		}
		m.colls[s.c] = &shelfColl{keys: map[string]string{}, objs: map[string]*shelfObject{}}
		return "created", nil
	}, func(s *step, tx *Tx) (string, error) {
		if tx.HasCollection(s.c) {
			return "deleted", tx.DeleteCollection(s.c)
		}
		return "created", tx.CreateCollection(s.c)
	}},
}

var objectCalls = []call{
	{"create", onObject, func(s *step, m *shelf) (string, error) {
		if o, err := exists(m, s); o != nil || m.colls[s.c] == nil {
			return "", errors.Join(err, map[bool]error{true: ErrExists}[o != nil])
		}
		m.touch(s.c, s.name)
		return "", nil
	}, func(s *step, tx *Tx) (string, error) { return "", tx.Create(s.c, []byte(s.name)) }},

	{"write", withData, func(s *step, m *shelf) (string, error) {
		if err := fits(m, s, s.off+s.n); err != nil || s.n == 0 {
			return "", err
		}
		m.touch(s.c, s.name).write(s.off, s.data)
		return "", nil
	}, func(s *step, tx *Tx) (string, error) { return "", tx.Write(s.c, []byte(s.name), s.off, []byte(s.data)) }},

	{"append", withData, func(s *step, m *shelf) (string, error) {
		size := uint64(0)
		if o := m.object(s.c, s.name); o != nil {
			size = o.size
		}
		if err := fits(m, s, size+s.n); err != nil || s.n == 0 {
			return fmt.Sprint(size), err
		}
		m.touch(s.c, s.name).write(size, s.data)
		return fmt.Sprint(size), nil
	}, func(s *step, tx *Tx) (string, error) {
		off, err := tx.Append(s.c, []byte(s.name), []byte(s.data))
		return fmt.Sprint(off), err
	}},

	{"truncate", onObject, func(s *step, m *shelf) (string, error) {
		if err := fits(m, s, s.off+s.n); err != nil {
			return "", err
		}
		m.touch(s.c, s.name).truncate(s.off + s.n)
		return "", nil
	}, func(s *step, tx *Tx) (string, error) { return "", tx.Truncate(s.c, []byte(s.name), s.off+s.n) }},

	{"punch", onObject, func(s *step, m *shelf) (string, error) {
		o, err := exists(m, s)
		if err == nil && s.off < o.size && s.n > 0 {
			m.touch(s.c, s.name).punch(s.off, s.off+s.n)
		}
		return "", err
	}, func(s *step, tx *Tx) (string, error) { return "", tx.Punch(s.c, []byte(s.name), s.off, s.n) }},

	{"zero", onObject, func(s *step, m *shelf) (string, error) {
		if err := fits(m, s, s.off+s.n); err != nil || s.n == 0 {
			return "", err
		}
		o := m.touch(s.c, s.name)
		o.punch(s.off, s.off+s.n)
		o.size = max(o.size, s.off+s.n)
		return "", nil
	}, func(s *step, tx *Tx) (string, error) { return "", tx.Zero(s.c, []byte(s.name), s.off, s.n) }},

	{"remove", onObject, func(s *step, m *shelf) (string, error) {
		_, err := exists(m, s)
		if err == nil {
			delete(m.colls[s.c].objs, s.name)
			m.changed = true
		}
		return "", err
	}, func(s *step, tx *Tx) (string, error) { return "", tx.Remove(s.c, []byte(s.name)) }},

	{"set attribute", onObject, func(s *step, m *shelf) (string, error) {
		if m.colls[s.c] == nil {
			return "", ErrNotFound
		}
		m.touch(s.c, s.name).attrs[s.hi] = strings.Repeat(s.hi, int(s.n%1500))
		return "", nil
	}, func(s *step, tx *Tx) (string, error) {
		return "", tx.SetAttr(s.c, []byte(s.name), []byte(s.hi), bytes.Repeat([]byte(s.hi), int(s.n%1500)))
	}},

	{"remove attribute", onObject, func(s *step, m *shelf) (string, error) {
		o, err := exists(m, s)
		if err != nil {
			return "", err
		}
		if _, ok := o.attrs[s.hi]; !ok {
			return "", ErrNotFound
		}
		delete(m.touch(s.c, s.name).attrs, s.hi)
		return "", nil
	}, func(s *step, tx *Tx) (string, error) { return "", tx.RemoveAttr(s.c, []byte(s.name), []byte(s.hi)) }},
}

var lookCalls = []call{
	{"get", onKeys, func(s *step, m *shelf) (string, error) {
		if k := m.colls[s.c]; k != nil {
			if v, ok := k.keys[s.name]; ok {
				return show("", v), nil
			}
		}
		return "", ErrNotFound
	}, func(s *step, tx *Tx) (string, error) {
		v, err := tx.Get(s.c, []byte(s.name))
		if err != nil {
			return "", err
		}
		return show("", string(v)), nil
	}},

	{"scan", onKeys, func(s *step, m *shelf) (string, error) {
		if m.colls[s.c] == nil {
			return "", nil
		}
		return strings.Join(m.colls[s.c].scan(s.name, s.hi, s.limit), ", "), nil
	}, func(s *step, tx *Tx) (string, error) {
		var out []string
		err := tx.Scan(s.c, []byte(s.name), []byte(s.hi), s.limit, func(k, v []byte) bool {
			out = append(out, show(string(k), string(v)))
			return true
		})
		return strings.Join(out, ", "), err
	}},

	{"list", onObject, func(s *step, m *shelf) (string, error) {
		if m.colls[s.c] == nil {
			return "", ErrNotFound
		}
		out, more := m.colls[s.c].list(s.name, s.limit)
		return fmt.Sprint(out, more), nil
	}, func(s *step, tx *Tx) (string, error) {
		var out []string
		more, err := tx.Objects(s.c, []byte(s.name), s.limit, func(name []byte, info ObjectInfo) bool {
			out = append(out, fmt.Sprintf("%s: %d bytes, version %d", name, info.Size, info.Version))
			return true
		})
		if err != nil {
			return "", err
		}
		return fmt.Sprint(out, more), nil
	}},

	{"expect", onObject, func(s *step, m *shelf) (string, error) {
		got, want := uint64(0), m.seq+1-min(uint64(s.limit)-1, m.seq+1)
		if o := m.object(s.c, s.name); o != nil {
			got = o.version
		}
		if got != want {
			return "", &VersionError{Coll: s.c, Object: []byte(s.name), Want: want, Got: got}
		}
		return "", nil
	}, func(s *step, tx *Tx) (string, error) {
		return "", tx.Expect(s.c, []byte(s.name), uint64(tx.NextSeq())-min(uint64(s.limit)-1, uint64(tx.NextSeq())))
	}},

	{"attributes", onObject, func(s *step, m *shelf) (string, error) {
		o, err := exists(m, s)
		if err != nil {
			return "", err
		}
		if _, ok := o.attrs[s.hi]; !ok {
			return fmt.Sprint(o.attrList()), ErrNotFound
		}
		return fmt.Sprint(o.attrList(), show(s.hi, o.attrs[s.hi])), nil
	}, func(s *step, tx *Tx) (string, error) {
		var out []string
		err := tx.EachAttr(s.c, []byte(s.name), func(n, v []byte) bool { out = append(out, show(string(n), string(v))); return true })
		if err != nil {
			return "", err
		}
		v, err := tx.GetAttr(s.c, []byte(s.name), []byte(s.hi))
		if err != nil {
			return fmt.Sprint(out), err
		}
		return fmt.Sprint(out, show(s.hi, string(v))), nil
	}},
}
