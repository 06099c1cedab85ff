package storage

import "pgregory.net/rapid"

func onTwoObjects(t *rapid.T, s *step) {
	s.name, s.hi = rapid.SampledFrom(objectNames).Draw(t, "object"), rapid.SampledFrom(objectNames).Draw(t, "clone")
}

func cloneOnModel(s *step, m *shelf) (string, error) {
	o, err := exists(m, s)
	switch {
	case err != nil:
		return "", err
	case m.object(s.c, s.hi) != nil:
		return "", ErrExists
	}
	n := o.copy()
	n.version, m.changed = m.seq+1, true
	m.colls[s.c].objs[s.hi] = n
	return "", nil
}

func cloneOnTx(s *step, tx *Tx) (string, error) {
	return "", tx.Clone(s.c, []byte(s.name), []byte(s.hi))
}

// cloneCalls: clones come as often as three other calls, and one way of them first makes room for itself.
var cloneCalls = []call{
	{"clone", onTwoObjects, cloneOnModel, cloneOnTx},
	{"clone", onTwoObjects, cloneOnModel, cloneOnTx},
	{"clone anew", onTwoObjects, func(s *step, m *shelf) (string, error) {
		if _, err := exists(m, s); err != nil || s.name == s.hi {
			return "", err
		}
		if m.object(s.c, s.hi) != nil {
			delete(m.colls[s.c].objs, s.hi)
		}
		return cloneOnModel(s, m)
	}, func(s *step, tx *Tx) (string, error) {
		if _, err := tx.Stat(s.c, []byte(s.name)); err != nil || s.name == s.hi {
			return "", err
		}
		if err := tx.Remove(s.c, []byte(s.hi)); err != nil && err != ErrNotFound {
			return "", err
		}
		return cloneOnTx(s, tx)
	}},
}
