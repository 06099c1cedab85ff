package dump

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"basalt/engine"
	"basalt/storage/format"
)

// TestScripts runs testdata/*.txt: what each command prints of an image that is known byte by byte, whole and damaged.
//
//	image [clones]                 a fresh one; with an object that was cloned, and its clone
//	flip block=B byte=N [bit=I]    rot
//	zero block=B [n=N]             blocks that were never written
//	set block=B byte=N hex=…       other bytes
//	remap take=S~L give=S~L        the newest superblock's map has other blocks free, under a right checksum
//	stale                          the second copy of the newest superblock was not written
//	unreadable block=B [n=N]       an error of the device
//	super | journal | tree | object | space [options of the command, without dashes]
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var m *image
		datadriven.RunTest(t, path, func(t *testing.T, c *datadriven.TestData) string {
			if c.Cmd == "image" {
				m = newImage(t, c.HasArg("clones"))
				return ""
			}
			s := script{t: t, m: m, c: c}
			return s.run()
		})
	})
}

type script struct {
	t *testing.T
	m *image
	c *datadriven.TestData
}

func (s *script) number(key string, otherwise int) int {
	s.c.MaybeScanArgs(s.t, key, &otherwise)
	return otherwise
}

func (s *script) text(key string) []byte {
	var v string
	s.c.MaybeScanArgs(s.t, key, &v)
	b, err := ParseName(v)
	s.m.must(err)
	return b
}

func (s *script) extent(key string) (e Extent) {
	var v string
	s.c.ScanArgs(s.t, key, &v)
	if _, err := fmt.Sscanf(v, "%d~%d", &e.Start, &e.Len); err != nil {
		s.t.Fatalf("%s: %v", v, err)
	}
	return e
}

func (s *script) run() string {
	off := int64(s.number("block", 0))*format.BlockBytes + int64(s.number("byte", 0))
	n := int64(s.number("n", 1)) * format.BlockBytes
	switch s.c.Cmd {
	case "flip":
		s.m.disk.Flip(off, uint(s.number("bit", 0)))
	case "zero":
		s.m.disk.WriteAt(make([]byte, n), off)
	case "set":
		var v string
		s.c.ScanArgs(s.t, "hex", &v)
		b, err := hex.DecodeString(v)
		s.m.must(err)
		s.m.disk.WriteAt(b, off)
	case "stale": // the second copy of slot 0 as of two epochs before
		at := s.m.layout.Super[0][1]
		b := make([]byte, format.SuperBytes)
		s.m.disk.ReadAt(b, int64(at)*format.BlockBytes)
		sb := format.PeekSuperblock(b)
		sb.Epoch -= 2
		sb.Encode(b)
		s.m.write(at, b)
	case "remap": // a map that is whole and says something else
		s.m.remap(s.extent("take"), s.extent("give"))
	case "unreadable":
		s.m.disk.Damage(off, n)
	default:
		return s.dump()
	}
	return ""
}

// dump runs one of the commands and says how it ended.
func (s *script) dump() string {
	ops := s.m.disk.Ops()
	var out strings.Builder
	opt := Options{Slice: s.number("slice", 0), Epoch: uint64(s.number("epoch", 0)), JSON: s.c.HasArg("json"), Lines: s.number("lines", 0)}
	opt.UserKey = func(coll uint16, key []byte) string {
		if string(key) == "k/one" {
			return "the first one"
		}
		return ""
	}
	opt.ObjectName = func(_ uint16, name []byte) string {
		if string(name) == string(binaryName) {
			return "the binary one"
		}
		return ""
	}
	bad := 0
	err := s.m.world.Do(s.m.r, func(f *engine.Fiber) error {
		d := New(f, s.m.h, &out, opt)
		err := s.command(d)
		bad = d.Bad()
		return err
	})
	if err != nil {
		fmt.Fprintf(&out, "ERROR %v\n", err)
	}
	if bad > 0 {
		fmt.Fprintf(&out, "%d bad\n", bad)
	}
	if s.m.disk.Ops() == ops && err == nil {
		s.t.Error("nothing was read")
	}
	return out.String()
}

func (s *script) command(d *Dump) error {
	at, raw := BlockNo(s.number("at", 0)), s.c.HasArg("at")
	switch s.c.Cmd {
	case "super":
		if raw {
			return d.SuperAt(at)
		}
		return d.Super()
	case "journal":
		if raw {
			return d.JournalAt(at)
		}
		return d.Journal(JournalOptions{From: uint64(s.number("from", 0)), To: uint64(s.number("to", 0)), Records: s.c.HasArg("records"), Verify: s.c.HasArg("verify"), All: s.c.HasArg("all")})
	case "tree":
		if raw {
			return d.TreeAt(at)
		}
		var kind string
		s.c.MaybeScanArgs(s.t, "kind", &kind)
		return d.Tree(TreeOptions{Keys: s.c.HasArg("keys"), Level: s.number("level", -1), Verify: s.c.HasArg("verify"), Coll: s.number("collection", -1),
			Kind: Kinds[kind], Prefix: s.text("prefix"), From: s.text("from")})
	case "object":
		if raw {
			return d.ObjectAt(at)
		}
		return d.Object(ObjectOptions{Coll: uint16(s.number("collection", 7)), Name: s.text("name"), Verify: s.c.HasArg("verify")})
	case "space":
		if raw {
			return d.SpaceAt(at)
		}
		return d.Space(SpaceOptions{Extents: s.c.HasArg("extents"), Tree: s.c.HasArg("tree")})
	}
	return fmt.Errorf("no command %s", s.c.Cmd)
}
