package house

import (
	"go/ast"
	"go/token"
	"strings"
)

// simulated are the packages that the simulator runs: one seed decides time, order, network and disk, so nothing in
// them may look at the world by itself.
var simulated = []string{
	"engine", "engine/sim", "engine/device", "storage/...", "netio", "meta", "meta/record", "meta/client",
}

// worldly are files inside simulated packages that are not simulated: each is the seam to the real world and says so.
// A directory-less pattern with * matches the file's base name.
var worldly = map[string]string{
	"engine/clock.go":   "the real clock behind the Clock interface",
	"engine/run.go":     "the loop on the shard's pinned thread; the simulator steps the reactor instead",
	"engine/inbox.go":   "other threads post here, and may be in the middle of it; the simulator has one thread",
	"engine/offload.go": "the bounded helper pool",
}

// worldlyPrefixes name files by prefix, where one transport is several files.
var worldlyPrefixes = map[string]string{
	"netio/gnet": "the gnet loops are their own goroutines; the simulator runs the ring transport",
}

// goStatements are the files outside tools, perf and tests in which a `go` statement may stand, with the reason.
var goStatements = map[string]string{
	"engine/run.go":     "the shard's thread",
	"engine/offload.go": "the bounded helper pool",
	"fuse/notify.go":    "kernel notifications block, so they have a goroutine of their own",
}

// bannedCalls: package path → functions; "*" is every function of the package.
var bannedCalls = map[string][]string{
	"time":         {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"math/rand":    {"*"},
	"math/rand/v2": {"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint32", "Uint64", "Uint32N", "Uint64N", "N", "Float64", "Float32", "Perm", "Shuffle"},
	"crypto/rand":  {"*"},
	"sync":         {"Pool"},
	"runtime":      {"SetFinalizer", "AddCleanup", "Gosched"},
	"os":           {"Getenv", "Getpid", "Hostname"},
}

// rawCalls may only stand in *_unsafe.go.
var rawCalls = map[string][]string{
	"syscall":               {"Syscall", "Syscall6", "RawSyscall", "RawSyscall6"},
	"golang.org/x/sys/unix": {"Syscall", "Syscall6", "RawSyscall", "RawSyscall6", "SyscallNoError", "RawSyscallNoError"},
}

func isSimulated(f *File) bool {
	if f.IsTest() || worldly[f.Path] != "" {
		return false
	}
	for prefix := range worldlyPrefixes {
		if strings.HasPrefix(f.Path, prefix) {
			return false
		}
	}
	for _, pattern := range simulated {
		if within(f.Dir(), pattern) {
			return true
		}
	}
	return false
}

// Calls finds what a simulated package must not do, and unsafe or raw system calls outside their files.
func Calls(f *File) []Finding {
	var found []Finding
	if !strings.HasSuffix(f.Path, "_unsafe.go") && !strings.HasSuffix(f.Path, "_unsafe_test.go") {
		found = append(found, uses(f, rawCalls, "raw system calls stand only in *_unsafe.go")...)
		for _, spec := range f.AST.Imports {
			if spec.Path.Value == `"unsafe"` {
				found = append(found, f.at(spec.Pos(), "unsafe is imported only in *_unsafe.go"))
			}
		}
	}
	if isSimulated(f) {
		found = append(found, uses(f, bannedCalls, "forbidden where the simulator runs")...)
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectStmt); ok {
				found = append(found, f.at(sel.Pos(), "select is forbidden where the simulator runs"))
			}
			return true
		})
	}
	return append(found, goStatement(f)...)
}

func goStatement(f *File) []Finding {
	if f.IsTest() || within(f.Dir(), "tools/...") || within(f.Dir(), "perf/...") || goStatements[f.Path] != "" {
		return nil
	}
	for prefix := range worldlyPrefixes {
		if strings.HasPrefix(f.Path, prefix) {
			return nil
		}
	}
	var found []Finding
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if stmt, ok := n.(*ast.GoStmt); ok {
			found = append(found, f.at(stmt.Pos(), "no go statement here: work belongs to a reactor"))
		}
		return true
	})
	return found
}

// Tests finds tests that may skip themselves or sleep.
func Tests(f *File) []Finding {
	if !f.IsTest() {
		return nil
	}
	found := uses(f, map[string][]string{"time": {"Sleep"}}, "tests wait for something, they do not sleep")
	ast.Inspect(f.AST, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "b" || x.Name == "f" || x.Name == "tb") {
			if sel.Sel.Name == "Skip" || sel.Sel.Name == "Skipf" || sel.Sel.Name == "SkipNow" {
				found = append(found, f.at(sel.Pos(), "no test skips: a missing feature is a failure with its reason"))
			}
		}
		return true
	})
	return found
}

// uses finds selections of a banned name of an imported package.
func uses(f *File, banned map[string][]string, rule string) []Finding {
	local := make(map[string][]string)
	for _, spec := range f.AST.Imports {
		target := strings.Trim(spec.Path.Value, `"`)
		names, ok := banned[target]
		if !ok {
			continue
		}
		name := packageName(target)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		local[name] = names
	}
	var found []Finding
	ast.Inspect(f.AST, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok || shadowed(x) {
			return true
		}
		for _, name := range local[x.Name] {
			if name == "*" || name == sel.Sel.Name {
				found = append(found, f.at(sel.Pos(), "%s.%s: %s", x.Name, sel.Sel.Name, rule))
			}
		}
		return true
	})
	return found
}

func packageName(target string) string {
	base := target[strings.LastIndexByte(target, '/')+1:]
	if base == "v2" {
		return "rand" // math/rand/v2, the only versioned path in the tables
	}
	return base
}

// shadowed reports whether the identifier was resolved to something declared in the file, so that it is no package.
func shadowed(x *ast.Ident) bool {
	return x.Obj != nil && x.Obj.Kind != ast.Pkg && x.Obj.Pos() != token.NoPos
}
