// Package dump shows what stands on a device to people who look for what went wrong: labels and superblocks, the journal, the tree, an object,
// the space maps. It writes nothing, replays nothing and trusts nothing: whatever is damaged is shown as far as it decodes, with the place, what
// was wanted and what was found, and everything that can be reached in spite of it is shown as well.
//
// A Dump belongs to the fiber that made it and is used by it alone; the device may be one that no store could be mounted from.
//
// Invariants:
//   - Nothing is written to the device.
//   - Memory is bounded by the largest structure of the format (a space map: 1 TiB / 4 KiB / 8 bits = 32 MiB), output by Options.Lines.
//   - The same bytes give the same output.
//
// No locks. It survives every damage, one that makes the label unreadable included, and says what it had to assume.
//
// Read dump.go first (how a slice is found), then line.go (what is printed), then the file of each structure.
package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/format"
)

// The terms of the format, short.
type (
	Extent  = format.Extent
	BlockNo = format.BlockNo
)

// Device is what is asked of a device handle.
type Device interface {
	Read(f *engine.Fiber, p []byte, off int64) error
	Name() string
	Bytes() int64
}

// ErrNotFound: what was asked for is not on the device, as far as it can be read.
var ErrNotFound = errors.New("dump: not found")

// ErrNoStore: nothing on the device begins like a label or a superblock.
var ErrNoStore = errors.New("dump: no store")

// Options of a Dump.
type Options struct {
	Slice int
	Epoch uint64 // the superblock to start from; 0: the newest that is valid
	JSON  bool   // one object a line
	Lines int    // most lines of output before it stops and says how to go on; 0: linesDefault

	// UserKey and ObjectName describe a user key and the name of an object in the words of their owner; the store itself does not know what
	// they mean. Either may be nil, or say nothing.
	UserKey    func(coll uint16, key []byte) string
	ObjectName func(coll uint16, name []byte) string
}

const (
	linesDefault = 10_000
	readStep     = 1 << 20 // one request of a long read
)

// Dump is one look at one slice.
type Dump struct {
	f   *engine.Fiber
	dev Device
	opt Options
	out printer

	labels  [2]Extent // where its copies stand
	label   *format.Label
	assumed bool               // there was no valid label
	begun   bool               // something begins like a label or a superblock, or cannot be read
	super   *format.Superblock // that everything below it is read from; nil: none is valid
	shown   map[BlockNo]bool   // damaged nodes that were shown
}

// New looks at a device.
func New(f *engine.Fiber, dev Device, out io.Writer, opt Options) *Dump {
	if opt.Lines <= 0 {
		opt.Lines = linesDefault
	}
	return &Dump{f: f, dev: dev, opt: opt, out: printer{w: out, json: opt.JSON, left: opt.Lines}, shown: map[BlockNo]bool{}}
}

// Bad is how many structures were shown as damaged.
func (d *Dump) Bad() int { return d.out.bad }

// end turns the reasons to stop that are no failure into what the caller wants to hear.
func (d *Dump) end(err error) error {
	if err == errEnough {
		return d.out.stopped(d.opt.Lines)
	}
	return err
}

func (d *Dump) place(e Extent) format.Place { return format.Place{Device: d.dev.Name(), Extent: e} }

func (d *Dump) blocks() uint64 { return uint64(d.dev.Bytes()) / format.BlockBytes }

// corrupt is an error of something that no codec looks at.
func (d *Dump) corrupt(e Extent, what string, want, got any) error {
	return &format.CorruptError{Place: d.place(e), What: what, Want: fmt.Sprint(want), Got: fmt.Sprint(got)}
}

// read returns the bytes of an extent. What cannot be read is zero in them, and the error names the first such place.
func (d *Dump) read(e Extent) ([]byte, error) {
	if e.Empty() || uint64(e.End()) > d.blocks() || e.End() < e.Start {
		return nil, d.corrupt(e, "extent", fmt.Sprintf("inside a device of %d blocks", d.blocks()), e)
	}
	a := d.f.Reactor().Arena()
	buf, err := a.Get(int(min(e.Bytes(), readStep)))
	if err != nil {
		return nil, err
	}
	defer a.Put(buf)
	out, mem := make([]byte, e.Bytes()), a.Bytes(buf)
	var first error
	for at := int64(0); at < e.Bytes(); {
		n := min(int64(len(mem)), e.Bytes()-at)
		if err := d.dev.Read(d.f, mem[:n:n], e.Offset()+at); err == nil {
			copy(out[at:], mem[:n])
		} else if bad := d.readSingly(out[at:at+n], mem, e.Offset()+at); first == nil {
			first = bad
		}
		at += n
	}
	return out, first
}

// readSingly reads block by block what could not be read at once.
func (d *Dump) readSingly(dst, mem []byte, off int64) (first error) {
	for at := 0; at < len(dst); at += format.BlockBytes {
		err := d.dev.Read(d.f, mem[:format.BlockBytes:format.BlockBytes], off+int64(at))
		if err == nil {
			copy(dst[at:], mem[:format.BlockBytes])
		} else if first == nil {
			first = err
		}
	}
	return first
}

// begins tells whether bytes carry a structure's magic number: only then its fields mean anything.
func begins(b []byte, magic string) bool { return bytes.HasPrefix(b, []byte(magic)) }

// arenaBuf is aligned memory for those who read by themselves.
func (d *Dump) arenaBuf(n int) (mem []byte, free func(), err error) {
	a := d.f.Reactor().Arena()
	if n > arena.BlockMax {
		return nil, nil, fmt.Errorf("dump: %d bytes at once, possible are %d", n, arena.BlockMax)
	}
	buf, err := a.Get(n)
	if err != nil {
		return nil, nil, err
	}
	return a.Bytes(buf), func() { a.Put(buf) }, nil
}

// findLabel takes the newest valid label. Without one it takes a copy that only its checksum condemns, and failing that the plan of a device
// with one slice, which is what mkfs makes.
func (d *Dump) findLabel() error {
	if d.blocks() < 2*format.LabelBytes/format.BlockBytes {
		return d.corrupt(Extent{}, "device", "room for two labels", fmt.Sprintf("%d blocks", d.blocks()))
	}
	d.findLabelEnd()
	var peeked *format.Label
	for _, e := range d.labels {
		b, err := d.read(e)
		if err != nil {
			d.begun = true
			continue
		}
		d.begun = d.begun || begins(b, format.LabelMagic)
		l, err := format.DecodeLabel(d.place(e), b)
		if err == nil && (d.label == nil || l.Generation > d.label.Generation) {
			d.label = l
		}
		if mended, err := format.MendLabel(d.place(e), b); err == nil {
			peeked = mended
		}
	}
	if d.label != nil {
		return nil
	}
	d.assumed, d.label = true, peeked
	if d.label == nil {
		var err error
		if d.label, err = format.PlanLabel(format.UUID{}, d.blocks(), 1); err != nil {
			return fmt.Errorf("dump: no label, and none can be assumed: %w", err)
		}
	}
	return nil
}

// findLabelEnd finds out where the second copy of the label stands: on a device that has grown since mkfs that is not its end.
func (d *Dump) findLabelEnd() {
	valid := func(e Extent) (b []byte, ok bool) {
		b, err := d.read(e)
		if err != nil {
			return nil, false
		}
		_, err = format.DecodeLabel(d.place(e), b)
		return b, err == nil
	}
	d.labels = format.LabelPlaces(d.blocks())
	first, whole := valid(d.labels[0])
	for _, e := range format.LabelEnds(first, d.blocks()) {
		if _, ok := valid(e); ok || whole {
			d.labels[1] = e
			return
		}
	}
}

// copyAt is one of the four places of a slice's superblocks.
type copyAt struct {
	slot, copy int
	block      BlockNo
	bytes      []byte
	super      *format.Superblock // nil: not valid
	err        error
}

// copies reads all superblocks of the slice.
func (d *Dump) copies() ([]copyAt, error) {
	segments := d.label.Slice(d.opt.Slice)
	if len(segments) == 0 {
		return nil, fmt.Errorf("%w: the device has %d slices, none is number %d", ErrNotFound, d.label.Slices, d.opt.Slice)
	}
	if segments[0].Len < 4*format.SuperPitchBlocks {
		return nil, d.corrupt(segments[0], "segment of the slice", "room for superblocks", segments[0])
	}
	var out []copyAt
	for slot, blocks := range format.SuperPlaces(segments[0]) {
		for i, at := range blocks {
			c := copyAt{slot: slot, copy: i, block: at}
			e := Extent{Start: at, Len: 1}
			c.bytes, c.err = d.read(e)
			d.begun = d.begun || c.err != nil || begins(c.bytes, format.SuperMagic)
			if c.err == nil {
				c.super, c.err = d.decodeSuper(e, c.bytes, slot)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// decodeSuper is what a mount demands of a superblock.
func (d *Dump) decodeSuper(e Extent, b []byte, slot int) (*format.Superblock, error) {
	sb, err := format.DecodeSuperblock(d.place(e), b)
	if err != nil {
		return nil, err
	}
	label := *d.label
	if d.assumed { // nobody knows the device's name
		label.Device = sb.Device
	}
	if err := sb.CheckAgainst(d.place(e), &label, d.opt.Slice); err != nil {
		return nil, err
	}
	if int(sb.Epoch&1) != slot {
		return nil, d.corrupt(e, "superblock slot", sb.Epoch&1, slot)
	}
	return sb, nil
}

// find takes the superblock that the rest is read from, and prints which one that is.
func (d *Dump) find() error {
	if err := d.findLabel(); err != nil {
		return err
	}
	copies, err := d.copies()
	if err != nil {
		return err
	}
	for i := range copies {
		sb := copies[i].super
		if sb == nil || d.opt.Epoch != 0 && sb.Epoch != d.opt.Epoch {
			continue
		}
		if d.super == nil || sb.Epoch > d.super.Epoch {
			d.super = sb
		}
	}
	if d.assumed {
		l := newLine(0, "label").note("neither copy is valid: the slices are assumed to be where mkfs puts them, or where a copy with a wrong checksum says")
		if err := d.out.print(l); err != nil {
			return err
		}
	}
	if d.super == nil {
		return nil
	}
	return d.out.print(newLine(0, "superblock").at(Extent{Start: d.super.Self, Len: 1}).
		add("slice", d.opt.Slice).add("epoch", d.super.Epoch).add("clean", d.super.Flags&format.SuperClean != 0).add("store", d.super.Store))
}

// need is find for those who can do nothing without a superblock.
func (d *Dump) need() error {
	err := d.find()
	if err == nil && d.super == nil && !d.begun {
		return ErrNoStore
	}
	if err == nil && d.super == nil {
		if d.opt.Epoch != 0 {
			return fmt.Errorf("%w: no valid superblock of slice %d has epoch %d", ErrNotFound, d.opt.Slice, d.opt.Epoch)
		}
		return d.corrupt(Extent{}, fmt.Sprintf("superblocks of slice %d", d.opt.Slice), "a valid copy", "none; dump super shows them")
	}
	return err
}

// space is what the tree and the objects of the slice may use.
func (d *Dump) space() []Extent {
	return format.DataExtents(d.label.Slice(d.opt.Slice), d.super.DataStart)
}

// owns tells whether the slice has all of e.
func (d *Dump) owns(e Extent) bool {
	for _, o := range d.space() {
		if o.Contains(e) {
			return true
		}
	}
	return false
}
