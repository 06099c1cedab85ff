package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"basalt/tools/outcome"
)

type settings struct {
	set       *pflag.FlagSet
	device    string
	limit     Size
	transport Choice
	detach    bool
	shards    int
	disks     []string
}

func newSettings(t *testing.T, args ...string) *settings {
	t.Helper()
	s := &settings{set: pflag.NewFlagSet("x", pflag.ContinueOnError), limit: 64 << 20}
	s.transport = Choice{Value: "ring", Of: []string{"ring", "gnet"}}
	s.set.String("config", "", "file")
	s.set.StringVar(&s.device, "device", "", "where")
	s.set.Var(&s.limit, "delta-bytes", "limit")
	s.set.Var(&s.transport, "wire-transport", "which")
	s.set.BoolVar(&s.detach, "detach", false, "go")
	s.set.IntVar(&s.shards, "shards", 1, "n")
	s.set.StringArrayVar(&s.disks, "disk", nil, "where; again for more")
	if err := s.set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFileSetsWhatTheCommandLineDidNot(t *testing.T) {
	s := newSettings(t, "--device=cli.img")
	name := filepath.Join(t.TempDir(), "c.toml")
	text := "device = \"file.img\"\ndelta-bytes = \"1GiB\"\nwire-transport = \"gnet\"\ndetach = true\nshards = 2\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := File(s.set, name); err != nil {
		t.Fatal(err)
	}
	if s.device != "cli.img" || s.limit != 1<<30 || s.transport.Value != "gnet" || !s.detach || s.shards != 2 {
		t.Fatalf("%+v", s)
	}
	again := newSettings(t)
	if err := apply(again.set, "shown", Show(s.set)); err != nil {
		t.Fatalf("what Show prints is no configuration: %v", err)
	}
	if again.device != "cli.img" || again.limit != s.limit || again.shards != 2 {
		t.Fatalf("%+v", again)
	}
}

// A flag that may be given again is a list in the file, or one text; what the command line gave is not added to. Show prints what reads back.
func TestLists(t *testing.T) {
	for text, want := range map[string][]string{
		`disk = ["a, b", "c"]`: {"a, b", "c"}, `disk = "a, b"`: {"a, b"}, `disk = []`: {}, `detach = true`: {},
	} {
		s := newSettings(t)
		if err := apply(s.set, "c.toml", text); err != nil || !slices.Equal(s.disks, want) {
			t.Errorf("%s gives %q, %v", text, s.disks, err)
		}
		again := newSettings(t)
		if err := apply(again.set, "shown", Show(s.set)); err != nil || !slices.Equal(again.disks, want) {
			t.Errorf("%s is shown as what gives %q, %v", text, again.disks, err)
		}
	}
	s := newSettings(t, "--disk", "x", "--disk", "y")
	if err := apply(s.set, "c.toml", `disk = ["a"]`); err != nil || !slices.Equal(s.disks, []string{"x", "y"}) {
		t.Errorf("the command line gave x and y, in force is %q, %v", s.disks, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"devise = \"x\"", `unknown key "devise"`},
		{"config = \"x\"", `unknown key "config"`},
		{"[store]\ndevice = \"x\"", `unknown key "store"`},
		{"wire-transport = \"tcp\"", `"tcp" is none of ring, gnet`},
		{"delta-bytes = \"many\"", `"many" is no size`},
		{"delta-bytes = \"-1\"", "is no size"},
		{"shards = 1.5", "want a text, a whole number"},
		{"shards = \"x\"", "invalid syntax"},
		{"device =", "line 1"},
		{"device = [\"x\"]", "want a text"},
		{"disk = [1]", "want a text or a list of texts"},
		{"disk = true", "want a text or a list of texts"},
	} {
		err := apply(newSettings(t).set, "c.toml", c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || outcome.CodeOf(err) != outcome.Usage {
			t.Errorf("%q gives %v, want %q and the usage code", c.text, err, c.want)
		}
	}
	if err := File(newSettings(t).set, filepath.Join(t.TempDir(), "none")); outcome.CodeOf(err) != outcome.Usage {
		t.Errorf("a missing file gives %v", err)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "4096": 4096, "64MiB": 64 << 20, "8G": 8 << 30, "1 KiB": 1024, "3B": 3} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q = %d, %v", text, got, err)
		}
	}
	for _, n := range []Size{0, 1, 4096, 5 << 20, 3<<30 + 1} {
		if got, err := ParseSize(n.String()); err != nil || got != n {
			t.Errorf("%d prints as %q and reads as %d, %v", int64(n), n.String(), int64(got), err)
		}
	}
	if _, err := ParseSize("9999999999TiB"); err == nil {
		t.Error("overflow is accepted")
	}
}

func TestAddress(t *testing.T) {
	for text, want := range map[string]Address{
		"unix:node.sock": {Unix: "node.sock"}, "run/node.sock": {Unix: "run/node.sock"}, "node.sock": {Unix: "node.sock"},
		"tcp:127.0.0.1:7": {TCP: "127.0.0.1:7"}, "[::1]:7": {TCP: "[::1]:7"},
	} {
		got, err := ParseAddress(text)
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
		if again, err := ParseAddress(got.String()); err != nil || again != want {
			t.Errorf("%q prints as %q", text, got.String())
		}
	}
	for _, text := range []string{"tcp:192.0.2.1:7", "192.0.2.1:7", "tcp:[2001:db8::1]:7", "tcp:0.0.0.0:7", "tcp:node.example:7", "tcp:localhost.example:7"} {
		if got, err := ParseAddress(text); err == nil || !strings.Contains(err.Error(), "not loopback") {
			t.Errorf("%q is taken for %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "unix:", "tcp:7", ":7", "tcp:host:"} {
		if got, err := ParseAddress(text); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}
