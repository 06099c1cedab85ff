package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// object is the command line of one of the object commands in a collection of our own.
func object(r *rig.Rig, verb string, more ...string) []string {
	return append([]string{"object", verb, "--device", r.Image(), "--collection", "1000"}, more...)
}

func putObject(t *testing.T, r *rig.Rig, name string, data []byte, more ...string) {
	t.Helper()
	file := join(r, "in")
	must(t, os.WriteFile(file, data, 0o600))
	_, err := r.Run("basalt", object(r, "put", append(more, name, file)...)...)
	must(t, err)
}

func sameObject(t *testing.T, r *rig.Rig, name string, want []byte) {
	t.Helper()
	got, err := r.Run("basalt", object(r, "get", name)...)
	must(t, err)
	if got.Stdout != string(want) {
		t.Errorf("object %s has %d bytes, or others than the %d that were put", name, len(got.Stdout), len(want))
	}
}

func TestObjects(t *testing.T) {
	r := newRig(t)
	refused(t, r, outcome.Failed, []string{"collection 1000", "--create"}, "basalt", object(r, "put", "first", os.DevNull)...)
	large := content(7, 9<<20+123) // three transactions
	putObject(t, r, "large", large, "--create")
	putObject(t, r, "small", []byte("grey"))
	putObject(t, r, "hex:00ff", nil)
	sameObject(t, r, "large", large)
	sameObject(t, r, "small", []byte("grey"))
	sameObject(t, r, "hex:00ff", nil)

	refused(t, r, outcome.Failed, []string{"small", "--replace"}, "basalt", object(r, "put", "small", os.DevNull)...)
	sameObject(t, r, "small", []byte("grey"))
	putObject(t, r, "small", []byte("red"), "--replace")
	putObject(t, r, "large", large[:5<<20], "--replace")
	sameObject(t, r, "small", []byte("red"))
	sameObject(t, r, "large", large[:5<<20])

	out := join(r, "out")
	_, err := r.Run("basalt", object(r, "get", "large", out)...)
	must(t, err)
	sameFile(t, out, large[:5<<20])
	refused(t, r, outcome.Failed, []string{out, "--replace"}, "basalt", object(r, "get", "small", out)...)
	sameFile(t, out, large[:5<<20])
	refused(t, r, outcome.Failed, []string{"none", "not there"}, "basalt", object(r, "get", "--replace", "none", out)...)
	sameFile(t, out, large[:5<<20])
	refused(t, r, outcome.Usage, []string{"device itself"}, "basalt", object(r, "get", "--replace", "small", r.Image())...)
	_, err = r.Run("basalt", object(r, "get", "small", os.DevNull)...)
	must(t, err)
	_, err = r.Run("basalt", object(r, "get", "--replace", "small", out)...)
	must(t, err)
	sameFile(t, out, []byte("red"))

	listed, err := r.Run("basalt", object(r, "ls")...)
	must(t, err)
	var names []string
	for row := range strings.Lines(listed.Stdout) {
		words := strings.Fields(row)
		names = append(names, words[0]+" "+words[3])
	}
	if got := strings.Join(names, ", "); got != "0 hex:00ff, 5242880 large, 3 small" {
		t.Errorf("ls says %q", got)
	}
	_, err = r.Run("basalt", object(r, "rm", "small")...)
	must(t, err)
	refused(t, r, outcome.Failed, []string{"small", "collection 1000", "not there"}, "basalt", object(r, "get", "small")...)
	refused(t, r, outcome.Failed, []string{"small", "not there"}, "basalt", object(r, "rm", "small")...)
	refused(t, r, outcome.Failed, []string{"small", "not there"}, "basalt", object(r, "stat", "small")...)
	fsckClean(t, r)
}

func TestObjectStat(t *testing.T) {
	r := newRig(t)
	putObject(t, r, "small", []byte("grey"), "--create")
	said, err := r.Run("basalt", object(r, "stat", "--json", "small")...)
	must(t, err)
	var stat struct {
		Name       string
		Size       int
		Unfinished bool
	}
	must(t, json.Unmarshal([]byte(said.Stdout), &stat))
	if stat.Name != "small" || stat.Size != 4 || stat.Unfinished {
		t.Errorf("%s", said.Stdout)
	}
	collections, err := r.Run("basalt", "object", "ls", "--device", r.Image())
	must(t, err)
	for _, want := range []string{"    0 namespace\n", "  255 namespace\n", " 1000 -\n", "65535 namespace\n"} {
		if !strings.Contains(collections.Stdout, want) {
			t.Errorf("no %q in\n%s", want, collections.Stdout)
		}
	}
}

// An input that fails in the middle leaves nothing, and an input that stops for good leaves an object that is not taken for a whole one.
func TestObjectPutThatDoesNotEnd(t *testing.T) {
	r := newRig(t)
	putObject(t, r, "old", []byte("old"), "--create")
	refused(t, r, outcome.Failed, []string{"input", "nothing was changed"}, "basalt", object(r, "put", "--replace", "old", r.Dir)...) // a directory cannot be read
	sameObject(t, r, "old", []byte("old"))

	put := exec.Command(filepath.Join(r.Bin, "basalt"), object(r, "put", "cut")...)
	in, err := put.StdinPipe()
	must(t, err)
	must(t, put.Start())
	_, err = in.Write(content(3, 4<<20+5<<20/2))
	must(t, err) // the pipe holds less than a step: all but the last of it was read, so the first transaction is made
	must(t, put.Process.Kill())
	_ = put.Wait() // it was killed, and says so
	res, err := r.Run("basalt", object(r, "stat", "cut")...)
	if err != nil { // nothing of it had become durable
		checkRefusal(t, res, outcome.Failed, []string{"cut", "not there"})
	} else {
		if !strings.Contains(res.Stdout, "unfinished") {
			t.Errorf("stat of half an object: %s", res.Stdout)
		}
		refused(t, r, outcome.Failed, []string{"cut", "not put whole"}, "basalt", object(r, "get", "cut")...)
	}
	putObject(t, r, "cut", []byte("whole"), "--replace")
	sameObject(t, r, "cut", []byte("whole"))
	fsckClean(t, r)
}

func TestObjectWrongUse(t *testing.T) {
	r := newRig(t)
	image := r.Image()
	wrong := []struct {
		words []string
		args  []string
	}{
		{[]string{"put, get, ls, stat, cp, rm"}, []string{"object", "copy"}},
		{[]string{"--device"}, []string{"object", "ls"}},
		{[]string{"--collection"}, []string{"object", "get", "--device", image, "x"}},
		{[]string{"name of an object"}, []string{"object", "get", "--device", image, "--collection", "1"}},
		{[]string{"name of an object"}, object(r, "put", "a", "b", "c")},
		{[]string{"--collection", "65536"}, []string{"object", "get", "--device", image, "--collection", "65536", "x"}},
		{[]string{"hex:0"}, object(r, "stat", "hex:0")},
		{[]string{"255"}, object(r, "stat", strings.Repeat("n", 256))},
		{[]string{"1 to 255"}, object(r, "stat", "")},
		{[]string{"--slice"}, object(r, "stat", "--slice", "-1", "x")},
		{[]string{"--limit"}, object(r, "ls", "--limit", "-1")},
		{[]string{"--nonsense"}, object(r, "rm", "--nonsense", "x")},
	}
	untouched(t, image, func() {
		for _, c := range wrong {
			refused(t, r, outcome.Usage, c.words, "basalt", c.args...)
		}
		refused(t, r, outcome.Failed, []string{"no collection 1000"}, "basalt", object(r, "ls")...)
		refused(t, r, outcome.Failed, []string{"x", "not there"}, "basalt", object(r, "get", "x")...)
		refused(t, r, outcome.Device, []string{"1 slices"}, "basalt", object(r, "stat", "--slice", "3", "x")...)
		refused(t, r, outcome.Failed, []string{"no such file"}, "basalt", object(r, "put", "x", join(r, "none"))...)
	})
	none := join(r, "none.img")
	refused(t, r, outcome.Device, []string{none, "no such file"}, "basalt", "object", "ls", "--device", none)
}

// The collections of the namespace are changed by force only, and a device that a node has not at all.
func TestObjectsOfOthers(t *testing.T) {
	r := newRig(t)
	for _, collection := range []string{"0", "255", "65535"} {
		for _, verb := range []string{"put", "rm"} {
			args := []string{"object", verb, "--device", r.Image(), "--collection", collection, "x"}
			refused(t, r, outcome.Failed, []string{"collection " + collection, "namespace", "inodes", "--force"}, "basalt", args...)
		}
	}
	fsckClean(t, r)
	file := join(r, "in")
	must(t, os.WriteFile(file, []byte("forced"), 0o600))
	_, err := r.Run("basalt", "object", "put", "--device", r.Image(), "--collection", "3", "--force", "x", file)
	must(t, err)
	got, err := r.Run("basalt", "object", "get", "--device", r.Image(), "--collection", "3", "x")
	must(t, err)
	if got.Stdout != "forced" {
		t.Errorf("%q", got.Stdout)
	}
	must(t, r.StartNode())
	for _, args := range [][]string{object(r, "ls"), object(r, "put", "x", file), object(r, "rm", "x"), {"dump", "super", r.Image()}} {
		refused(t, r, outcome.InUse, []string{r.Image(), "in use"}, "basalt", args...)
	}
}

// Damage: the object is named, the code is that of damage, and no half file is left. The dump shows the block and whose it is.
func TestDamagedObject(t *testing.T) {
	r := newRig(t)
	data := content(11, 3<<20)
	putObject(t, r, "victim", data, "--create")
	putObject(t, r, "other", []byte("whole"))
	image, err := os.ReadFile(r.Image())
	must(t, err)
	at := bytes.Index(image, data[2<<20:2<<20+4096])
	if at < 0 || at%4096 != 0 {
		t.Fatalf("the data is at %d", at)
	}
	file, err := os.OpenFile(r.Image(), os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt([]byte{image[at] ^ 1}, int64(at))
	must(t, err)
	must(t, file.Close())
	block := fmt.Sprint(at / 4096)

	out := join(r, "out")
	refused(t, r, outcome.Damage, []string{"victim", "collection 1000", "2097152", block + "~1", "crc32c"}, "basalt", object(r, "get", "victim", out)...)
	for _, name := range []string{out, out + ".partial"} {
		if _, err := os.Stat(name); !os.IsNotExist(err) {
			t.Errorf("half of a damaged object was left in %s: %v", name, err)
		}
	}
	res, err := r.Run("basalt", object(r, "get", "victim")...)
	if err == nil || res.Stdout != string(data[:2<<20]) {
		t.Errorf("before the damage there are %d bytes, %v", len(res.Stdout), err)
	}
	sameObject(t, r, "other", []byte("whole"))

	res, err = r.Run("basalt", "dump", "object", "--collection", "1000", "--name", "victim", "--verify", r.Image())
	if err == nil || outcome.Code(res.Code) != outcome.Damage || !strings.Contains(res.Stdout, "block at "+block+"~1 off=512\n") || strings.Count(res.Stdout, "BAD") != 1 {
		t.Errorf("%v\n%s", err, res.Stdout)
	}
	res, err = r.Run("basalt", "dump", "object", "--at", block, r.Image())
	must(t, err)
	if !strings.Contains(res.Stdout, "object=victim") {
		t.Errorf("%s", res.Stdout)
	}
}
