package campaign

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage/format"
)

var makeImages = flag.Bool("make-images", false, "make the images of the current format version that are not there yet")

const makeThem = "make them with go test ./storage/campaign -run TestMakeImages -make-images"

// imageObjects are the names of the objects on an image.
var imageObjects = []string{"small", "blocks", "patched", "sparse", "cut", "punched", "late", "gone",
	"twin", "third", "copy", "heir"} // the clones

// imageKinds are the images of a version.
var imageKinds = []struct {
	name    string
	clean   bool                   // unmounted; else the power goes with a journal to replay
	damaged bool                   // the check has something to find
	lost    uint64                 // transactions of the end that were never reported as committed, as far as the disk can tell
	spoil   func(w *image) error   // what happens to it then
	want    func(text string) bool // that it shows what it is for
}{
	{name: "clean", clean: true, want: has("clean true", "0 records", "0 findings")},
	{name: "journal", want: has("clean false", "was cut false", "0 findings", "1/late")},
	{name: "torn-tail", lost: 1, spoil: (*image).tearTail, want: has("was cut true", "0 findings")},
	{name: "lost-data", lost: 1, spoil: (*image).loseData, want: has("was cut true", "0 findings")},
	{name: "rotten-block", clean: true, damaged: true, spoil: (*image).rotBlock, want: has("2 findings", "1/blocks: 20480 bytes, corrupt", "1/twin: 13000 bytes, corrupt")},
	{name: "rotten-journal", damaged: true, spoil: (*image).rotJournal, want: has("mount: refused: journal record", "1 findings")},
	{name: "bad-copies", clean: true, damaged: true, spoil: (*image).spoilCopies, want: has("2 bad copies", "map rebuilt true", "1 findings")},
	{name: "next-version", clean: true, damaged: true, spoil: (*image).nextVersion, want: has("mount: refused: corrupt", "superblock version")},
}

func has(words ...string) func(string) bool {
	return func(text string) bool {
		for _, w := range words {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return true
	}
}

// Images are made anew in memory each time, so that the generator lives; what is in testdata only grows, by -make-images.
func TestMakeImages(t *testing.T) {
	if *makeImages {
		if err := os.MkdirAll(versionDir(), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range imageKinds {
		w, err := newImage(k.clean)
		if err == nil && k.spoil != nil {
			err = k.spoil(w)
		}
		if err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		if !k.damaged {
			if err := w.verify(w.applied - k.lost); err != nil {
				t.Fatalf("%s: %v", k.name, err)
			}
		}
		text, err := describe(w.disk)
		if err != nil || !k.want(text) {
			t.Fatalf("%s: %v: not what it is for:\n%s", k.name, err, text)
		}
		name := filepath.Join(versionDir(), k.name)
		if _, err := os.Stat(name + ".img.gz"); err == nil || !*makeImages {
			continue
		}
		if err := errors.Join(w.save(name+".img.gz"), os.WriteFile(name+".txt", []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// image is a disk that a life has left, and where things are on it.
type image struct {
	disk    *sim.Disk
	m       *model // what was put on it
	applied uint64 // number of the last transaction
	super   format.Superblock
	block   int64 // offset of the second block of the object "blocks"
	late    int64 // and of the only one of "late", which the last record names
}

// verify compares what a mount of the image shows with the model after transaction seq; the image stays as it is.
func (w *image) verify(seq uint64) error {
	l, err := begin(imagePlan(), 2, w.disk.Fork().AfterPowerLossOf(sim.Loss{}, 1), w.m)
	if err != nil {
		return err
	}
	defer l.end()
	if err := l.mount(); err != nil {
		return err
	}
	_, err = l.verify(seq, seq)
	return err
}

// newImage lives a life that uses everything that the format has.
func newImage(clean bool) (*image, error) {
	l, err := begin(imagePlan(), 1, nil, newModel())
	if err != nil {
		return nil, err
	}
	defer l.end()
	for _, step := range []func() error{l.format, l.mount, l.makeCollections, l.firstPart, func() error { return l.do(l.s.Checkpoint) }, l.secondPart} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	w := &image{m: l.m, applied: uint64(l.s.Applied())}
	if w.block, err = l.findBlock(blockOf("blocks", 1)); err == nil {
		w.late, err = l.findBlock(blockOf("late", 0))
	}
	if err != nil {
		return nil, err
	}
	if clean {
		if err := l.unmount(); err != nil {
			return nil, err
		}
	}
	w.disk = l.disk.AfterPowerLossOf(sim.Loss{}, 1)
	return w, w.findSuper()
}

// blockOf is a block like no other.
func blockOf(name string, i int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%-12.12s%04d", name, i), pageSize/16)
}

func blocksOf(name string, n int) (data []byte) {
	for i := range n {
		data = append(data, blockOf(name, i)...)
	}
	return data
}

// steps does transactions and commits each, so that each has a record.
func (l *life) steps(list ...[]action) error {
	for _, a := range list {
		if err := l.do(func(f *engine.Fiber) error { return l.update(f, a) }); err != nil {
			return err
		}
		if err := l.commitAll(); err != nil {
			return err
		}
	}
	return nil
}

func (l *life) firstPart() error {
	var keys []action
	for i := range 90 {
		keys = append(keys, action{kind: putKey, coll: 1 + i%2, name: fmt.Sprintf("k%03d", i), data: blockOf("key", i)[:(i*37)%400]})
	}
	long := func(name string, n int) action {
		return action{kind: putBig, coll: 2, name: name, data: blocksOf(name, 6)[:n]}
	}
	return l.steps(
		keys,
		[]action{long("long1", 1025), long("long2", 9000), long("long3", 20_000)},
		[]action{{kind: write, coll: 1, name: "small", data: blockOf("small", 0)[:100]}, {kind: setAttr, coll: 1, name: "small", hi: "color", data: []byte("green")}},
		[]action{{kind: writeBlocks, coll: 1, name: "blocks", data: blocksOf("blocks", 5)}},
		[]action{{kind: writeBlocks, coll: 1, name: "patched", data: blocksOf("patched", 2)}, {kind: writeFar, coll: 1, name: "sparse", off: 1 << 20, data: blockOf("sparse", 0)}},
		[]action{{kind: writeBlocks, coll: 2, name: "cut", data: blocksOf("cut", 4)}, {kind: writeBlocks, coll: 2, name: "punched", data: blocksOf("punched", 4)}},
		[]action{{kind: writeBlocks, coll: 2, name: "gone", data: blocksOf("gone", 2)}, {kind: writeBlocks, coll: 3, name: "gone", data: blocksOf("gone", 3)}},
		[]action{{kind: writeBlocks, coll: 2, name: "heirloom", data: blocksOf("heir", 3)}, {kind: clone, coll: 2, name: "heirloom", hi: "heir"}, {kind: clone, coll: 1, name: "blocks", hi: "twin"}},
		[]action{{kind: remove, coll: 2, name: "heirloom"}, {kind: patch, coll: 1, name: "twin", off: 9000, data: blockOf("mine", 0)[:100]}},
	)
}

func (l *life) secondPart() error {
	return l.steps(
		[]action{{kind: patch, coll: 1, name: "patched", off: 4000, data: blockOf("patch", 0)[:200]}, {kind: truncate, coll: 2, name: "cut", off: 5000}},
		[]action{{kind: punch, coll: 2, name: "punched", off: 3000, n: 6000}, {kind: remove, coll: 2, name: "gone"}, {kind: recreate, coll: 3}},
		[]action{{kind: delRange, coll: 1, name: "k010", hi: "k030"}, {kind: delKey, coll: 2, name: "k001"}, {kind: setAttr, coll: 1, name: "blocks", hi: "color", data: []byte("red")}},
		[]action{{kind: putKey, coll: 3, name: "new", data: []byte("value")}, {kind: putBig, coll: 2, name: "long1", data: blocksOf("anew", 2)[:5000]}},
		[]action{{kind: clone, coll: 1, name: "twin", hi: "third"}, {kind: clone, coll: 1, name: "patched", hi: "copy"}, {kind: truncate, coll: 1, name: "twin", off: 13_000}},
		[]action{{kind: patch, coll: 1, name: "copy", off: 4010, data: blockOf("over", 0)[:150]}, {kind: writeBlocks, coll: 1, name: "third", off: 4096, data: blockOf("third", 0)}},
		[]action{{kind: writeBlocks, coll: 1, name: "late", data: blocksOf("late", 1)}, {kind: putBig, coll: 2, name: "tail", data: blocksOf("tail", 3)[:12_000]}},
	)
}

// findBlock says where a block like no other stands on the disk.
func (l *life) findBlock(want []byte) (int64, error) {
	for p, off := make([]byte, pageSize), int64(0); off < l.disk.Bytes(); off += pageSize {
		if l.disk.ReadAt(p, off); bytes.Equal(p, want) {
			return off, nil
		}
	}
	return 0, fmt.Errorf("no block begins with %q", want[:16])
}

// superPlaces are the blocks of the superblocks.
func (w *image) superPlaces() [2][2]format.BlockNo {
	label, err := format.PlanLabel([16]byte{1}, uint64(w.disk.Bytes())/format.BlockBytes, 1)
	if err != nil {
		panic("campaign: the disk of an image is too small: " + err.Error())
	}
	return format.SuperPlaces(label.Slice(0)[0])
}

// findSuper reads the newest superblock.
func (w *image) findSuper() error {
	for _, copies := range w.superPlaces() {
		p := make([]byte, format.SuperBytes)
		w.disk.ReadAt(p, int64(copies[0])*format.BlockBytes)
		s, err := format.DecodeSuperblock(format.Place{Extent: format.Extent{Start: copies[0], Len: 1}}, p)
		if err == nil && s.Epoch > w.super.Epoch {
			w.super = *s
		}
	}
	if w.super.Epoch == 0 {
		return errors.New("no superblock can be read")
	}
	return nil
}

// record finds the journal's last record, or one so many before it.
func (w *image) record(before uint64) (off, n int64, err error) {
	at, most := map[uint64][2]int64{}, uint64(0)
	for b, p := format.BlockCount(0), make([]byte, pageSize); b < w.super.Journal.Len; b++ {
		w.disk.ReadAt(p, w.super.Journal.Offset()+int64(b)*format.BlockBytes)
		if seq, n := sequenceOf(p); seq > 0 {
			at[seq] = [2]int64{w.super.Journal.Offset() + int64(b)*format.BlockBytes, n}
			most = max(most, seq)
		}
	}
	found, ok := at[most-before]
	if !ok {
		return 0, 0, fmt.Errorf("the journal has no record %d", most-before)
	}
	return found[0], found[1], nil
}

// tearTail: the last sectors of the last record never reached the media.
func (w *image) tearTail() error {
	off, n, err := w.record(0)
	end := (off + n + sim.SectorBytes - 1) / sim.SectorBytes * sim.SectorBytes
	w.disk.WriteAt(make([]byte, 8*sim.SectorBytes), end-8*sim.SectorBytes)
	return err
}

// loseData: the last record is there, and the data it names is not.
func (w *image) loseData() error {
	w.disk.WriteAt(make([]byte, pageSize), w.late)
	return nil
}

func (w *image) rotBlock() error {
	w.disk.Flip(w.block+1234, 5)
	return nil
}

// rotJournal: a record is damaged that later ones say was durable.
func (w *image) rotJournal() error {
	off, _, err := w.record(2)
	w.disk.Flip(off+format.JournalHeaderBytes+9, 2)
	return err
}

// spoilCopies: one copy of the label, one of the newest superblock, and the space map.
func (w *image) spoilCopies() error {
	w.disk.Flip(w.disk.Bytes()-format.LabelBytes+40, 0)
	w.disk.Flip(int64(w.super.Self)*format.BlockBytes+100, 0)
	w.disk.Flip(w.super.SpaceMap[w.super.Map.Region].Offset()+format.SpaceMapHeaderBytes, 0)
	return nil
}

// nextVersion: the newest superblock is of a version that this code does not know; the older one is not, and must not be taken for it.
func (w *image) nextVersion() error {
	for slot, copies := range w.superPlaces() {
		for _, at := range copies {
			p := make([]byte, format.SuperBytes)
			w.disk.ReadAt(p, int64(at)*format.BlockBytes)
			if slot == int(w.super.Epoch&1) {
				binary.LittleEndian.PutUint32(p[8:], format.Version+1)
				binary.LittleEndian.PutUint32(p[len(p)-4:], format.Crc(p[:len(p)-4]))
				w.disk.WriteAt(p, int64(at)*format.BlockBytes)
			}
		}
	}
	return nil
}

func (w *image) save(name string) error {
	content := make([]byte, w.disk.Bytes())
	w.disk.ReadAt(content, 0)
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zip.Write(content); err != nil {
		return err
	}
	if err := zip.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, out.Bytes(), 0o644)
}
