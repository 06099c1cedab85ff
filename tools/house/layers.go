package house

import (
	"fmt"
	"strings"
)

// layer is one row of the import table. A name without "/..." is that package alone.
type layer struct {
	of  string   // package directory, or "dir/..." for the subtree; the longest match rules
	may []string // packages and subtrees of this module it may import
}

// layers: arrows point one way. Production files only; test files obey testLayers.
var layers = []layer{
	{of: ".", may: []string{"meta/client", "engine/...", "meta/record"}},

	{of: "engine/invariant"},
	{of: "engine/uring", may: []string{"engine/invariant"}},
	{of: "engine/arena", may: []string{"engine/invariant"}},
	{of: "engine", may: []string{"engine/uring", "engine/arena", "engine/invariant"}},
	{of: "engine/...", may: []string{"engine/..."}},

	{of: "storage/format", may: []string{"engine/invariant"}},
	{of: "storage/alloc", may: []string{"storage/format", "engine/invariant"}},
	{of: "storage/btree", may: []string{"storage/format", "storage/alloc", "engine/..."}},
	{of: "storage/journal", may: []string{"storage/format", "engine/..."}},
	{of: "storage/...", may: []string{"storage/...", "engine/..."}},

	{of: "netio/...", may: []string{"netio/...", "engine/..."}},

	{of: "meta/record"},
	{of: "meta/client/...", may: []string{"meta/client/...", "netio/...", "engine/...", "meta/record"}},
	{of: "meta/...", may: []string{"meta/...", "storage/...", "netio/...", "engine/...", "meta/record"}},

	{of: "fuse/...", may: []string{"fuse/...", "meta/client", "engine/...", "meta/record"}},

	{of: "perf/keys"},
	{of: rivals + "/...", may: []string{"perf/keys"}},
	{of: "perf/...", may: []string{".", "perf/...", "engine/...", "storage/...", "netio/...", "meta/...", "fuse/..."}},
	{of: "tools/...", may: []string{".", "tools/...", "engine/...", "storage/...", "netio/...", "meta/...", "fuse/..."}},
}

// keepers name, for each foreign module with a hazard of its own, the one place that may touch it.
var keepers = []struct{ module, only string }{
	{"github.com/pawelgaczynski/giouring", "engine/uring"},
	{"github.com/panjf2000/gnet/v2", "netio/..."},
	{"github.com/hanwen/go-fuse/v2", "fuse/..."},
	{"github.com/cilium/ebpf", "perf/bpf/..."},
	{"github.com/spf13/cobra", "tools/..."},
	{"github.com/BurntSushi/toml", "tools/..."},
	{"github.com/prometheus/client_golang", "tools/..."},
	{"github.com/cockroachdb/pebble", rivals}, // measured beside the store, by a program of a module of its own
	{"go.etcd.io/bbolt", rivals},
}

// rivals is a module inside this one: what it needs must not come into the product's go.mod, nor be compiled with every checkout. The rules
// that parse files hold for it too. The Go commands that start in the root pass it by, so it may hold no test, which nobody would run, and
// nothing that the simulator runs.
const rivals = "perf/rivals"

// Nested finds tests in rivals.
func Nested(f *File) []Finding {
	if f.IsTest() && within(f.Dir(), rivals+"/...") {
		return []Finding{{f.Path, "nobody runs the tests of a nested module: what is worth one lies in perf/keys or perf/bench"}}
	}
	return nil
}

// Requirements finds what only rivals may import in the text of the product's go.mod or go.sum.
func Requirements(name string, text []byte) []Finding {
	var found []Finding
	for i, line := range strings.Split(string(text), "\n") {
		for _, k := range keepers {
			if k.only == rivals && strings.Contains(line, k.module) {
				found = append(found, Finding{fmt.Sprintf("%s:%d", name, i+1), fmt.Sprintf("%s is required by %s alone: go mod tidy", k.module, rivals)})
			}
		}
	}
	return found
}

// Versions finds modules that the go.mod of rivals requires older or newer than the product's: with an older one the Go command refuses to
// build it, and nothing but make bench-store would say so.
func Versions(product, rival []byte) []Finding {
	want := make(map[string]string)
	for line := range strings.Lines(string(product)) {
		if f := strings.Fields(line); len(f) >= 2 && strings.HasPrefix(f[1], "v") {
			want[f[0]] = f[1]
		}
	}
	var found []Finding
	for i, line := range strings.Split(string(rival), "\n") {
		if f := strings.Fields(line); len(f) >= 2 && want[f[0]] != "" && want[f[0]] != f[1] {
			found = append(found, Finding{fmt.Sprintf("%s/go.mod:%d", rivals, i+1),
				fmt.Sprintf("%s is %s here and %s in the product: go -C %s mod tidy", f[0], f[1], want[f[0]], rivals)})
		}
	}
	return found
}

// Layers finds imports that point the wrong way. module is the module path of go.mod.
func Layers(f *File, module string) []Finding {
	var found []Finding
	for _, spec := range f.AST.Imports {
		target := strings.Trim(spec.Path.Value, `"`)
		for _, k := range keepers {
			if within(target, k.module+"/...") && !within(f.Dir(), k.only) {
				found = append(found, f.at(spec.Pos(), "only %s may import %s", k.only, k.module))
			}
		}
		inner, ours := insideModule(target, module)
		if !ours || inner == f.Dir() {
			continue
		}
		if within(inner, "tools/...") && !within(f.Dir(), "tools/...") {
			found = append(found, f.at(spec.Pos(), "nobody imports tools: %s", inner))
			continue
		}
		if f.IsTest() {
			continue // a test may build a world out of any layer below tools
		}
		if !allowed(f.Dir(), inner) {
			found = append(found, f.at(spec.Pos(), "%s may not import %s", f.Dir(), inner))
		}
	}
	return found
}

func insideModule(target, module string) (inner string, ours bool) {
	if target == module {
		return ".", true
	}
	return strings.CutPrefix(target, module+"/")
}

func allowed(dir, target string) bool {
	row, ok := layerOf(dir)
	if !ok {
		return false // a package outside the table has no place in the tree yet
	}
	for _, may := range row.may {
		if within(target, may) {
			return true
		}
	}
	return false
}

func layerOf(dir string) (layer, bool) {
	best, ok := layer{}, false
	for _, row := range layers {
		if !within(dir, row.of) {
			continue
		}
		if exact := row.of == dir; exact {
			return row, true
		}
		if !ok || len(row.of) > len(best.of) {
			best, ok = row, true
		}
	}
	return best, ok
}

// within reports whether a package lies in a pattern: the same name, or below "dir/...".
func within(dir, pattern string) bool {
	base, tree := strings.CutSuffix(pattern, "/...")
	return dir == base || tree && strings.HasPrefix(dir, base+"/")
}
