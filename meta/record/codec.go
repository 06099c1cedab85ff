package record

import "encoding/binary"

// encoder appends the fields that are not zero and remembers which those are.
type encoder struct {
	b    []byte
	mark int // where the mask goes
	have uint32
}

func (e *encoder) u32(bit uint, v uint32) {
	if v != 0 {
		e.have |= 1 << bit
		e.b = binary.LittleEndian.AppendUint32(e.b, v)
	}
}

func (e *encoder) u64(bit uint, v uint64) {
	if v != 0 {
		e.have |= 1 << bit
		e.b = binary.LittleEndian.AppendUint64(e.b, v)
	}
}

func (e *encoder) bytes(bit uint, v []byte) {
	if len(v) != 0 {
		e.have |= 1 << bit
		e.b = binary.LittleEndian.AppendUint32(e.b, uint32(len(v)))
		e.b = append(e.b, v...)
	}
}

func (e *encoder) finish() []byte {
	binary.LittleEndian.PutUint32(e.b[e.mark:], e.have)
	return e.b
}

// decoder reads the present fields in order; the first thing that is wrong sticks, and everything after it reads as zero.
type decoder struct {
	b    []byte
	off  int
	have uint32
	what string
	err  *CorruptError
}

//go:noinline
func (d *decoder) fail(field string, want, got uint64) {
	if d.err == nil {
		d.err = &CorruptError{What: d.what + " " + field, Off: d.off, Want: want, Got: got}
	}
	d.off, d.have = len(d.b), 0
}

func (d *decoder) mask(at int, fields uint) {
	d.off = at + 4
	if d.err != nil {
		return
	}
	d.have = binary.LittleEndian.Uint32(d.b[at:])
	if d.have>>fields != 0 {
		d.fail("mask", 1<<fields-1, uint64(d.have))
	}
}

// need reports whether the field is present and n bytes of it are there.
func (d *decoder) need(bit uint, n int) bool {
	if d.have&(1<<bit) == 0 {
		return false
	}
	if len(d.b)-d.off < n {
		d.fail("is short", uint64(n), uint64(len(d.b)-d.off))
		return false
	}
	return true
}

func (d *decoder) u32(bit uint) uint32 {
	if !d.need(bit, 4) {
		return 0
	}
	v := binary.LittleEndian.Uint32(d.b[d.off:])
	if v == 0 {
		d.fail("has a zero field", 1, 0)
		return 0
	}
	d.off += 4
	return v
}

func (d *decoder) u64(bit uint) uint64 {
	if !d.need(bit, 8) {
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b[d.off:])
	if v == 0 {
		d.fail("has a zero field", 1, 0)
		return 0
	}
	d.off += 8
	return v
}

func (d *decoder) bytes(bit uint, max int) []byte {
	if !d.need(bit, 4) {
		return nil
	}
	n := binary.LittleEndian.Uint32(d.b[d.off:])
	if n == 0 || n > uint32(max) {
		d.fail("bytes", uint64(max), uint64(n))
		return nil
	}
	d.off += 4
	if !d.need(bit, int(n)) {
		return nil
	}
	v := d.b[d.off : d.off+int(n) : d.off+int(n)]
	d.off += int(n)
	return v
}

func (d *decoder) attr(bit uint, a *Attr) {
	if !d.need(bit, AttrSize) {
		return
	}
	if err := a.Decode(d.b[d.off : d.off+AttrSize]); err != nil {
		c := err.(*CorruptError)
		d.fail(c.What, c.Want, c.Got)
		*a = Attr{}
		return
	}
	if a.Ino == 0 {
		d.fail("attr ino", 1, 0)
	}
	d.off += AttrSize
}

func (d *decoder) finish() error {
	if d.err == nil && d.off != len(d.b) {
		d.fail("has bytes behind it", uint64(d.off), uint64(len(d.b)))
	}
	if d.err != nil {
		return d.err
	}
	return nil
}
