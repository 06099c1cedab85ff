package alloc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"basalt/storage/format"
)

// TestScripts runs testdata/*.txt. They are written to be read: each explains one property of the allocator.
//
//	space 100~50 200~50 [piece=4]   a new allocator, nothing free
//	free 100~10 …                   give extents back
//	claim 100~1 …                   take exactly these
//	alloc want=8 [least=1] [hint=0] take one extent
//	all n=20 [hint=0]               take n blocks
//	reserve n / forfeit n           accounts
//	free-map / free-map-show        make a map of what is free; show it
//	map                             encode, decode, compare; show the encoding
//	show                            free extents and counts
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{t: t}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := s.run(d)
			if s.a != nil {
				if err := s.a.Check(); err != nil {
					d.Fatalf(t, "%v", err)
				}
			}
			return out
		})
	})
}

type script struct {
	t     *testing.T
	a     *Allocator
	space []extent
	snap  *FreeMap
}

func (s *script) extents(d *datadriven.TestData) (out []extent) {
	for _, a := range d.CmdArgs {
		var e extent
		if n, err := fmt.Sscanf(a.Key, "%d~%d", &e.Start, &e.Len); n == 2 && err == nil {
			out = append(out, e)
		}
	}
	return out
}

func (s *script) number(d *datadriven.TestData, key string, otherwise int) int {
	d.MaybeScanArgs(s.t, key, &otherwise)
	return otherwise
}

func (s *script) run(d *datadriven.TestData) string {
	var b strings.Builder
	hint := blockNo(s.number(d, "hint", 0))
	switch d.Cmd {
	case "space":
		s.space = s.extents(d)
		s.a = New(s.space, blockCount(s.number(d, "piece", 4)))
	case "free":
		for _, e := range s.extents(d) {
			s.a.Free(e)
		}
	case "claim":
		for _, e := range s.extents(d) {
			fmt.Fprintf(&b, "%v %v\n", e, s.a.Claim(e))
		}
		return b.String()
	case "alloc":
		e, ok := s.a.AllocRun(blockCount(s.number(d, "want", 1)), blockCount(s.number(d, "least", 1)), hint)
		if !ok {
			return "nothing\n"
		}
		return e.String() + "\n"
	case "all":
		got, ok := s.a.AllocAll(blockCount(s.number(d, "n", 1)), hint, nil)
		return fmt.Sprintln(ok, got)
	case "reserve":
		return fmt.Sprintln(s.a.Reserve(uint64(s.number(d, "n", 0))), "available", s.a.Available())
	case "forfeit":
		s.a.Forfeit(uint64(s.number(d, "n", 0)))
		return fmt.Sprintln("available", s.a.Available())
	case "free-map":
		s.snap = s.a.FreeMap()
	case "free-map-show":
		return showRuns(s.snap)
	case "map":
		mapRoundTrip(s.t, s.a, s.space)
		m, h := encodeMap(s.a, 100)
		return fmt.Sprintf("encoding %d, %d blocks, %d free, %d runs, %d bytes: % x\n", h.Encoding, h.Blocks, h.Free, h.Runs, h.Bytes,
			m[format.SpaceMapHeaderBytes:])
	case "show":
	default:
		d.Fatalf(s.t, "unknown command %s", d.Cmd)
	}
	return fmt.Sprintf("%s%d free, %d pieces\n", showRuns(&s.a.free), s.a.FreeBlocks(), s.a.Pieces())
}

func showRuns(s ascender) string {
	var b strings.Builder
	s.Ascend(func(e extent) bool { fmt.Fprintf(&b, "%v class %d\n", e, classOf(e.Len)); return true })
	return b.String()
}
