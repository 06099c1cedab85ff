package house

import (
	"fmt"
	"strings"
	"testing"
)

// Each rule must be able to fail: a planted violation, and its innocent neighbour.

func parse(t *testing.T, name, text string) *File {
	t.Helper()
	f, err := Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func expect(t *testing.T, found []Finding, want ...string) {
	t.Helper()
	if len(found) != len(want) {
		t.Fatalf("found %v, want %d: %v", found, len(want), want)
	}
	for i, w := range want {
		if !strings.Contains(found[i].String(), w) {
			t.Errorf("found %q, want %q in it", found[i], w)
		}
	}
}

func TestLayersFinds(t *testing.T) {
	bad := parse(t, "storage/x.go", "package storage\n\nimport (\n_ \"basalt/meta\"\n_ \"basalt/tools/node\"\n_ \"basalt/engine\"\n_ \"github.com/panjf2000/gnet/v2\"\n_ \"github.com/cockroachdb/pebble/v2\"\n_ \"go.etcd.io/bbolt\"\n)\n")
	expect(t, Layers(bad, "basalt"), "storage may not import meta", "nobody imports tools", "only netio/... may import", "only perf/rivals may import", "only perf/rivals may import")
	rival := "package main\n\nimport (\n_ \"github.com/cockroachdb/pebble/v2\"\n_ \"go.etcd.io/bbolt\"\n_ \"basalt/perf/keys\"\n)\n"
	expect(t, Layers(parse(t, "perf/bench/x.go", rival), "basalt"), "only perf/rivals may import", "only perf/rivals may import")
	expect(t, Layers(parse(t, "perf/rivals/x.go", rival), "basalt"))
	expect(t, Layers(parse(t, "perf/rivals/x.go", "package main\n\nimport _ \"basalt/storage\"\n"), "basalt"), "perf/rivals may not import storage")
	expect(t, Layers(parse(t, "storage/x_test.go", "package storage\n\nimport _ \"basalt/meta/record\"\n"), "basalt"))
	expect(t, Layers(parse(t, "stray/x.go", "package stray\n\nimport _ \"basalt/engine\"\n"), "basalt"), "stray may not import engine")
}

func TestNestedFinds(t *testing.T) {
	text := "package main\n"
	expect(t, Nested(parse(t, "perf/rivals/x_test.go", text)), "nobody runs the tests")
	expect(t, Nested(parse(t, "perf/rivals/x.go", text)))
	expect(t, Nested(parse(t, "perf/bench/x_test.go", text)))
}

func TestRequirementsFinds(t *testing.T) {
	bad := "require (\n\tgithub.com/cockroachdb/datadriven v1.0.3\n\tgithub.com/cockroachdb/pebble/v2 v2.1.7 // indirect\n)\nrequire go.etcd.io/bbolt v1.5.0\n"
	expect(t, Requirements("go.mod", []byte(bad)), "go.mod:3: github.com/cockroachdb/pebble", "go.mod:5: go.etcd.io/bbolt")
}

func TestVersionsFinds(t *testing.T) {
	product := "module basalt\n\ngo 1.26.0\n\nrequire (\n\tgolang.org/x/sys v0.49.0\n\tpgregory.net/rapid v1.3.0\n)\n"
	rival := "module basalt/perf/rivals\n\ngo 1.26.0\n\nrequire go.etcd.io/bbolt v1.5.0\n\nrequire (\n\tgolang.org/x/sys v0.48.0 // indirect\n)\n"
	expect(t, Versions([]byte(product), []byte(rival)), "perf/rivals/go.mod:8: golang.org/x/sys is v0.48.0 here and v0.49.0")
	expect(t, Versions([]byte(product), []byte(strings.ReplaceAll(rival, "v0.48.0", "v0.49.0"))))
}

func TestCallsFinds(t *testing.T) {
	bad := parse(t, "meta/x.go", "package meta\n\nimport (\n\"time\"\n\"unsafe\"\n)\n\nfunc f(c chan int) {\n\t_ = time.Now()\n\tselect {\n\tcase <-c:\n\t}\n\tgo f(c)\n\t_ = unsafe.Pointer(nil)\n}\n")
	expect(t, Calls(bad), "unsafe is imported only", "time.Now", "select is forbidden", "no go statement")
	good := parse(t, "tools/x/x.go", "package x\n\nimport \"time\"\n\nfunc f() { go f(); _ = time.Now() }\n")
	expect(t, Calls(good))
	raw := parse(t, "fuse/x.go", "package fuse\n\nimport \"golang.org/x/sys/unix\"\n\nfunc f() { unix.Syscall(0, 0, 0, 0); unix.Close(0) }\n")
	expect(t, Calls(raw), "unix.Syscall")
}

func TestTestsFinds(t *testing.T) {
	bad := parse(t, "meta/x_test.go", "package meta\n\nimport (\n\"testing\"\n\"time\"\n)\n\nfunc TestX(t *testing.T) { time.Sleep(1); t.Skip() }\n")
	expect(t, Tests(bad), "do not sleep", "no test skips")
}

func TestMeasureFinds(t *testing.T) {
	body := strings.Repeat("\t_ = 0\n", funcLinesMax-1)
	f := parse(t, "meta/x.go", fmt.Sprintf("package meta\n\nfunc (s *Shard[T]) long() {\n%s}\n\nfunc short() {\n}\n", body))
	long := Measure(f)
	if len(long) != 1 || long[0] != (Long{"meta/x.go", "Shard.long", funcLinesMax + 1}) {
		t.Fatalf("measured %v", long)
	}
	expect(t, CheckLong(long, nil), "Shard.long has 71 lines")
	expect(t, CheckLong(long, long))
	expect(t, CheckLong(long, []Long{{"meta/x.go", "Shard.long", 90}}), "has shrunk to 71")
	expect(t, CheckLong(nil, long), "needs its exemption no more")
}

func TestWordsFinds(t *testing.T) {
	home := "/ho" + "me/someone/x"
	todo := "// TO" + "DO "
	expect(t, Words("x.go", []byte(home+"\n"+todo+"later\n"+todo+"drop this when 6.1 is gone\n"), true),
		"somebody's machine", "names the condition")
}

func TestNamedFinds(t *testing.T) {
	f := parse(t, "meta/x.go", "package meta\n\ntype Shard struct{}\n\nfunc (s *Shard) Run() {}\n")
	doc := "`meta/x.go Shard.Run` `meta/x.go Shard.Stop` `meta/y.go`\n"
	expect(t, Named("A.md", []byte(doc), []*File{f}), "does not declare Shard.Stop", "there is no meta/y.go")
	if n := CountNamed([]byte(doc)); n != 2 {
		t.Fatalf("counted %d references", n)
	}
}

func TestFaultsFinds(t *testing.T) {
	f := parse(t, "storage/campaign/x_test.go", "package campaign\n\nimport \"testing\"\n\nfunc TestFaultRot(t *testing.T) {}\n\nfunc TestFaultFull(t *testing.T) {}\n")
	good := "## Faults\n\n| fault | promise | test |\n|---|---|---|\n| rot | an error | `storage/campaign/x_test.go TestFaultRot` |\n"
	full := "| full | ENOSPC | `storage/campaign/x_test.go TestFaultFull` |\n"
	expect(t, Faults("A.md", []byte(good+full), []*File{f}))
	expect(t, Faults("A.md", []byte(good), []*File{f}), "does not name TestFaultFull")
	expect(t, Faults("A.md", []byte(good+full+"| slow | time | none |\n## Next\n"), []*File{f}), `the row "slow"`)
	expect(t, Faults("A.md", []byte(good+"\n## Next\n"+full), []*File{f}), "does not name TestFaultFull")
	expect(t, Faults("A.md", []byte("## Else\n"), []*File{f}), "there is no table")
}
