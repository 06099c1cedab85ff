package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"basalt/storage"
)

// The load's world: small enough to be overwritten, folded and freed all the time.
const (
	colls       = 2 // collections, numbered from 1
	keyCount    = 150
	objectCount = 10
	objectMax   = 160 << 10
	actionsMax  = 6
	numberKey   = "~number" // in collection 1: life and number of the last transaction
)

type kind int

const (
	putKey kind = iota
	putBig      // a value that lives out of line
	delKey
	delRange
	write // any offset and length
	writeBlocks
	truncate
	punch
	remove
	recreate // collection 2 goes and comes again
	kinds
)

var weights = [kinds]int{putKey: 20, putBig: 4, delKey: 5, delRange: 1, write: 14, writeBlocks: 12, truncate: 4, punch: 4, remove: 3, recreate: 1}

// action is one step of a transaction.
type action struct {
	kind   kind
	coll   int
	name   string
	hi     string
	off, n int
	data   []byte
}

// script is what transaction number n of a life does: it follows from these numbers only, so that who comes later knows it
// too, and differs from what another life did under the same number.
func script(seed, life, n uint64) []action {
	r := rand.New(rand.NewPCG(seed^life<<40, n))
	list := make([]action, 1, actionsMax)
	list[0] = draw(r)
	for len(list) < actionsMax && r.IntN(3) > 0 {
		list = append(list, draw(r))
	}
	return list
}

func draw(r *rand.Rand) action {
	a := action{kind: drawKind(r), coll: 1 + r.IntN(colls)}
	switch a.kind {
	case putKey, putBig, delKey:
		a.name = fmt.Sprintf("k%03d", r.IntN(keyCount))
	case delRange:
		from := r.IntN(keyCount)
		a.name, a.hi = fmt.Sprintf("k%03d", from), fmt.Sprintf("k%03d", from+1+r.IntN(keyCount/4))
	case recreate:
		a.coll = colls
	default:
		a.name = fmt.Sprintf("o%d", r.IntN(objectCount))
		a.off, a.n = r.IntN(objectMax), 1+r.IntN(12_000)
	}
	switch a.kind {
	case putKey:
		a.data = fill(r, r.IntN(300))
	case putBig:
		a.data = fill(r, 1100+r.IntN(9000))
	case write:
		if r.IntN(3) == 0 {
			a.n = 1 + r.IntN(200)
		}
		a.data = fill(r, a.n)
	case writeBlocks:
		a.off = a.off / 4096 * 4096
		a.data = fill(r, 4096*(1+r.IntN(8)))
	}
	return a
}

func drawKind(r *rand.Rand) kind {
	total := 0
	for _, w := range weights {
		total += w
	}
	n := r.IntN(total)
	for k, w := range weights {
		if n -= w; n < 0 {
			return kind(k)
		}
	}
	panic("cutloop: weights")
}

// fill makes n bytes that nothing else has: the head names the draw, the rest repeats it.
func fill(r *rand.Rand, n int) []byte {
	p := make([]byte, n+8)
	binary.LittleEndian.PutUint64(p, r.Uint64())
	for done := 8; done < len(p); done *= 2 {
		copy(p[done:], p[:done])
	}
	return p[:n]
}

// number is what stands under numberKey after a transaction.
func number(life, n uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, life), n)
}

// perform does transaction n in the store. The first of all makes the collections.
func perform(tx *storage.Tx, seed, life, n uint64) error {
	if n == 1 {
		for c := 1; c <= colls; c++ {
			if err := tx.CreateCollection(storage.Coll(c)); err != nil {
				return err
			}
		}
	}
	for _, a := range script(seed, life, n) {
		if err := a.perform(tx); err != nil {
			return err
		}
	}
	return tx.Put(1, []byte(numberKey), number(life, n))
}

func (a *action) perform(tx *storage.Tx) error {
	c, name := storage.Coll(a.coll), []byte(a.name)
	switch a.kind {
	case putKey, putBig:
		return tx.Put(c, name, a.data)
	case delKey:
		return tx.Delete(c, name)
	case delRange:
		return tx.DeleteRange(c, name, []byte(a.hi))
	case write, writeBlocks:
		return tx.Write(c, name, uint64(a.off), a.data)
	case recreate:
		if err := tx.DeleteCollection(c); err != nil {
			return err
		}
		return tx.CreateCollection(c)
	}
	if _, err := tx.Stat(c, name); errors.Is(err, storage.ErrNotFound) {
		return nil // what there is not, is neither cut nor removed
	} else if err != nil {
		return err
	}
	switch a.kind {
	case truncate:
		return tx.Truncate(c, name, uint64(a.off))
	case punch:
		return tx.Punch(c, name, uint64(a.off), uint64(a.n))
	}
	return tx.Remove(c, name)
}
