package e2e

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"basalt/storage/format"
	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// storagedArgs are those of a node on the image, with more behind them.
func storagedArgs(r *rig.Rig, device string, more ...string) []string {
	return append([]string{"--device", device, "--socket", r.Socket()}, more...)
}

// untouched runs something that must not change the file.
func untouched(t *testing.T, name string, do func()) {
	t.Helper()
	before, err := sum(name)
	must(t, err)
	do()
	after, err := sum(name)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Errorf("%s was changed", name)
	}
}

func TestWrongDevice(t *testing.T) {
	r := bareRig(t)
	none := join(r, "none")
	refused(t, r, outcome.Device, []string{none, "no such file"}, "storaged", storagedArgs(r, none)...)
	refused(t, r, outcome.Device, []string{none, "no such file"}, "basalt", "fsck", none)
	if _, err := os.Stat(none); err == nil {
		t.Error("a missing device was created")
	}
	refused(t, r, outcome.Device, []string{r.Dir, "neither a block device nor a regular file"}, "storaged", storagedArgs(r, r.Dir)...)

	foreign := join(r, "ext4.img")
	image := make([]byte, 128<<20)
	image[0x438], image[0x439] = 0x53, 0xef // ext2/3/4: magic 0xEF53 at 1024 + 0x38
	must(t, os.WriteFile(foreign, image, 0o600))
	untouched(t, foreign, func() {
		refused(t, r, outcome.Device, []string{foreign, "ext"}, "storaged", storagedArgs(r, foreign)...)
		refused(t, r, outcome.Device, []string{foreign, "ext", "--force"}, "basalt", "mkfs", foreign)
		refused(t, r, outcome.Device, []string{foreign}, "basalt", "fsck", foreign)
	})
	blank := join(r, "blank.img")
	must(t, os.WriteFile(blank, make([]byte, 128<<20), 0o600))
	untouched(t, blank, func() {
		refused(t, r, outcome.Device, []string{blank, "mkfs"}, "storaged", storagedArgs(r, blank)...)
		refused(t, r, outcome.Device, []string{blank, "mkfs"}, "basalt", "fsck", blank)
	})
}

func TestMkfsDoesNotOverwriteAStore(t *testing.T) {
	r := newRig(t)
	untouched(t, r.Image(), func() {
		refused(t, r, outcome.Device, []string{r.Image(), "--force"}, "basalt", "mkfs", r.Image())
	})
	_, err := r.Run("basalt", "mkfs", "--force", r.Image())
	must(t, err)
	fsckClean(t, r)
}

func TestShortDevice(t *testing.T) {
	r := newRig(t)
	refused(t, r, outcome.Device, []string{"tiny.img", "too small"}, "basalt", "mkfs", "--size", "1MiB", join(r, "tiny.img"))
	if _, err := os.Stat(join(r, "tiny.img")); err == nil {
		t.Error("a refused mkfs left its image")
	}
	must(t, os.Truncate(r.Image(), 128<<20))
	untouched(t, r.Image(), func() {
		refused(t, r, outcome.Device, []string{r.Image(), "short"}, "storaged", storagedArgs(r, r.Image())...)
	})
}

// patch changes bytes of a file in place.
func patch(t *testing.T, name string, off int64, change func(b []byte), n int) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, off)
	must(t, err)
	change(b)
	_, err = f.WriteAt(b, off)
	must(t, err)
}

func blocksOf(t *testing.T, name string) uint64 {
	t.Helper()
	st, err := os.Stat(name)
	must(t, err)
	return uint64(st.Size()) / format.BlockBytes
}

func TestOtherVersion(t *testing.T) {
	r := newRig(t)
	for _, place := range format.LabelPlaces(blocksOf(t, r.Image())) {
		patch(t, r.Image(), place.Offset(), func(b []byte) {
			b[8]++ // version, as docs/FORMAT.md has it; the checksum stands at the end
			crc := format.Crc(b[:len(b)-4])
			b[len(b)-4], b[len(b)-3], b[len(b)-2], b[len(b)-1] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
		}, int(place.Bytes()))
	}
	untouched(t, r.Image(), func() {
		refused(t, r, outcome.Device, []string{r.Image(), "version 2", "version 1"}, "storaged", storagedArgs(r, r.Image())...)
		refused(t, r, outcome.Device, []string{r.Image(), "version 2", "version 1"}, "basalt", "fsck", r.Image())
	})
}

// superPlaces are the byte offsets of the four superblocks of slice 0.
func superPlaces(t *testing.T, image string) []int64 {
	t.Helper()
	f, err := os.Open(image)
	must(t, err)
	defer f.Close()
	b := make([]byte, format.LabelBytes)
	_, err = f.ReadAt(b, 0)
	must(t, err)
	label, err := format.DecodeLabel(format.Place{Device: image, Extent: format.LabelPlaces(blocksOf(t, image))[0]}, b)
	must(t, err)
	var offsets []int64
	for _, slot := range format.SuperPlaces(label.Slice(0)[0]) {
		for _, block := range slot {
			offsets = append(offsets, int64(block)*format.BlockBytes)
		}
	}
	return offsets
}

func TestCorruptedSuperblock(t *testing.T) {
	r := newRig(t)
	places := superPlaces(t, r.Image())
	flip := func(b []byte) { b[100] ^= 0x10 }
	patch(t, r.Image(), places[0], flip, format.BlockBytes)
	patch(t, r.Image(), places[2], flip, format.BlockBytes)
	must(t, r.StartNode()) // each slot has a second copy
	must(t, r.StopNode())

	for _, off := range superPlaces(t, r.Image()) {
		patch(t, r.Image(), off, flip, format.BlockBytes)
	}
	untouched(t, r.Image(), func() {
		refused(t, r, outcome.Device, []string{r.Image(), "superblock", "fsck"}, "storaged", storagedArgs(r, r.Image())...)
		res, err := r.Run("basalt", "fsck", r.Image())
		if err == nil || outcome.Code(res.Code) != outcome.Damage || !strings.Contains(res.Stdout+res.Stderr, "superblock") {
			t.Errorf("fsck of a store without superblocks: %v", err)
		}
	})
}

func TestInUse(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	other := bareRig(t)
	must(t, other.Mkfs())
	refused(t, r, outcome.InUse, []string{r.Image(), "in use"}, "storaged", "--device", r.Image(), "--socket", other.Socket())
	refused(t, r, outcome.InUse, []string{r.Image(), "in use"}, "basalt", "fsck", r.Image())
	refused(t, r, outcome.InUse, []string{r.Image(), "in use"}, "basalt", "mkfs", "--force", r.Image())
	refused(t, r, outcome.InUse, []string{r.Socket(), "in use"}, "storaged", "--device", other.Image(), "--socket", r.Socket())

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	port := taken.Addr().String()
	refused(t, r, outcome.InUse, []string{port, "in use"}, "storaged", storagedArgs(other, other.Image(), "--tcp", port)...)
	refused(t, r, outcome.InUse, []string{port}, "storaged", storagedArgs(other, other.Image(), "--metrics", port)...)
	fsckClean(t, other)

	must(t, r.Mount())
	refused(t, r, outcome.InUse, []string{r.Mnt(), "already"}, "basalt", "mount", "--node", r.Socket(), r.Mnt())
	busy, err := os.Create(filepath.Join(r.Mnt(), "busy"))
	must(t, err)
	defer busy.Close()
	refused(t, r, outcome.InUse, []string{r.Mnt(), "in use"}, "basalt", "umount", r.Mnt())
	refused(t, r, outcome.InUse, []string{r.Mnt(), "in use"}, "basalt", "stop", r.Mnt())
	must(t, busy.Close())
}

func TestUsage(t *testing.T) {
	r := newRig(t)
	file := join(r, "node.toml")
	must(t, os.WriteFile(file, []byte("device = \"x\"\ndelta-byte = \"1GiB\"\n"), 0o600))
	for _, c := range []struct {
		words []string
		args  []string
	}{
		{[]string{"node.toml", `unknown key "delta-byte"`, "delta-bytes"}, []string{"--config", file}},
		{[]string{"none.toml"}, []string{"--config", join(r, "none.toml")}},
		{[]string{"--device"}, nil},
		{[]string{"unknown flag", "--devize"}, []string{"--devize", "x"}},
		{[]string{"wire-transport", "ring, gnet"}, storagedArgs(r, r.Image(), "--wire-transport", "pigeon")},
		{[]string{"0.0.0.0:7000", "loopback"}, storagedArgs(r, r.Image(), "--tcp", "0.0.0.0:7000")},
		{[]string{"socket path", "107"}, []string{"--device", r.Image(), "--socket", join(r, strings.Repeat("s", 120))}},
	} {
		refused(t, r, outcome.Usage, c.words, "storaged", c.args...)
	}
	refused(t, r, outcome.Usage, []string{"many", "size"}, "basalt", "mkfs", "--size", "many", join(r, "x.img"))
	refused(t, r, outcome.Usage, []string{"mount needs"}, "basalt", "mount")
	refused(t, r, outcome.Usage, []string{"unknown command"}, "basalt", "frobnicate")
}

func TestUnreachable(t *testing.T) {
	r := bareRig(t)
	must(t, os.Mkdir(r.Mnt(), 0o755))
	none := join(r, "none.sock")
	refused(t, r, outcome.Unreachable, []string{none}, "basalt", "mount", "--node", none, "--log", join(r, "m.log"), r.Mnt())
	refused(t, r, outcome.Unreachable, []string{"127.0.0.1:1"}, "basalt", "mount", "--node", "tcp:127.0.0.1:1", "--foreground", r.Mnt())
	refused(t, r, outcome.Unreachable, []string{none}, "basalt", "status", none)
	refused(t, r, outcome.Unreachable, []string{none}, "basalt", "stop", none)
}

func TestWrongMountPoint(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	none := join(r, "nowhere")
	refused(t, r, outcome.Mount, []string{none, "no such directory"}, "basalt", "mount", "--node", r.Socket(), "--foreground", none)
	refused(t, r, outcome.Mount, []string{r.Image(), "not a directory"}, "basalt", "mount", "--node", r.Socket(), "--foreground", r.Image())
	refused(t, r, outcome.Failed, []string{r.Dir, "no Basalt mount"}, "basalt", "umount", r.Dir)
}

func TestFullHostFileSystem(t *testing.T) {
	r := bareRig(t)
	huge := join(r, "huge.img")
	refused(t, r, outcome.Failed, []string{huge, "no space"}, "basalt", "mkfs", "--size", "8TiB", huge)
	if _, err := os.Stat(huge); err == nil {
		t.Error("a refused mkfs left its image")
	}
}

// A full store says ENOSPC, loses nothing that it took, and takes more once something is removed.
func TestFullDisk(t *testing.T) {
	r := bareRig(t)
	r.Size = "256MiB"
	must(t, r.Mkfs())
	must(t, r.StartNode())
	must(t, r.Mount())
	writeSynced(t, filepath.Join(r.Mnt(), "first"), content(1, 1<<20))
	big, err := os.Create(filepath.Join(r.Mnt(), "big"))
	must(t, err)
	block := content(2, 1<<20)
	written := 0
	for ; written < 400; written++ {
		if _, err = big.Write(block); err != nil {
			break
		}
	}
	must(t, big.Close())
	if err == nil || !errors.Is(err, unix.ENOSPC) || written < 100 {
		t.Fatalf("writing %d MiB into 256 MiB: %v", written, err)
	}
	sameFile(t, filepath.Join(r.Mnt(), "first"), content(1, 1<<20))
	must(t, os.Remove(big.Name()))
	writeSynced(t, filepath.Join(r.Mnt(), "again"), content(3, 32<<20))
	sameFile(t, filepath.Join(r.Mnt(), "again"), content(3, 32<<20))
	must(t, r.Umount())
	must(t, r.StopNode())
	fsckClean(t, r)
}

// ramfs is what is left of file systems without O_DIRECT in a current kernel.
func TestImageWithoutDirectIO(t *testing.T) {
	r := newRig(t)
	ram := join(r, "ram")
	must(t, os.Mkdir(ram, 0o755))
	must(t, unix.Mount("ramfs", ram, "ramfs", 0, ""))
	defer func() { must(t, unix.Unmount(ram, unix.MNT_DETACH)) }()
	image := filepath.Join(ram, "disk.img")
	refused(t, r, outcome.Device, []string{image, "O_DIRECT"}, "basalt", "mkfs", "--size", "512MiB", image)
	from, err := os.Open(r.Image())
	must(t, err)
	defer from.Close()
	to, err := os.Create(image)
	must(t, err)
	_, err = io.CopyN(to, from, 1<<20)
	must(t, err)
	must(t, to.Close())
	refused(t, r, outcome.Device, []string{image, "O_DIRECT"}, "storaged", storagedArgs(r, image)...)
}

// What cannot be meant is refused before the device is opened, with the flag's name.
func TestNumbersOutOfRange(t *testing.T) {
	r := newRig(t)
	before, err := sum(r.Image())
	must(t, err)
	for _, c := range []struct{ flag, value string }{
		{"--tcp", "127.0.0.1:99999"}, {"--metrics", "127.0.0.1:99999"}, {"--metrics", "127.0.0.1:http"}, {"--delta-bytes", "1KiB"}, {"--delta-bytes", "0"},
		{"--cache-bytes", "0"}, {"--replay-bytes", "0"}, {"--cache-bytes", "64KiB"}, {"--connections", "0"}, {"--connections", "100000"},
		{"--lease-seconds", "99999999999"}, {"--mount-queue-depth", "-1"}, {"--mount-columns", "-1"},
	} {
		refused(t, r, outcome.Usage, []string{c.flag}, "storaged", storagedArgs(r, r.Image(), c.flag, c.value)...)
	}
	for _, args := range [][]string{{"--queue-depth", "-1"}, {"--queue-depth", "1025"}, {"--columns", "1000"}} {
		refused(t, r, outcome.Usage, []string{"want 1 to"}, "basalt", append([]string{"mount", "--node", r.Socket(), "--foreground", r.Mnt()}, args...)...)
	}
	refused(t, r, outcome.Usage, []string{"65535"}, "basalt", "mount", "--node", "tcp:127.0.0.1:99999", "--foreground", r.Mnt())
	refused(t, r, outcome.Usage, []string{"--node-bytes"}, "basalt", "mkfs", "--force", "--node-bytes", "7", r.Image())
	refused(t, r, outcome.Usage, []string{"--groups"}, "basalt", "mkfs", "--force", "--groups", "-1", r.Image())
	refused(t, r, outcome.Usage, []string{"--journal-bytes"}, "basalt", "mkfs", "--force", "--journal-bytes", "5000", r.Image())
	after, err := sum(r.Image())
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the image was changed")
	}
}

func TestMissingSocketDirectory(t *testing.T) {
	r := newRig(t)
	socket := join(r, "none/node.sock")
	refused(t, r, outcome.Failed, []string{socket, "mkdir -p " + join(r, "none")}, "storaged", "--device", r.Image(), "--socket", socket)
	must(t, r.StartNode())
	if log := r.Tail("storaged"); !strings.Contains(log, "clean=true") || strings.Contains(log, "&{") || strings.Contains(log, "replayed") {
		t.Errorf("the log of a clean start:\n%s", log)
	}
	must(t, r.KillNode())
	must(t, r.StartNode())
	if log := r.Tail("storaged"); !strings.Contains(log, "clean=false") || !strings.Contains(log, "records_replayed=") {
		t.Errorf("the log of a start after a kill:\n%s", log)
	}
}

func TestReadOnlyImage(t *testing.T) {
	r := newRig(t)
	ro := join(r, "ro")
	must(t, os.Mkdir(ro, 0o755))
	must(t, unix.Mount(r.Dir, ro, "", unix.MS_BIND, ""))
	defer func() { must(t, unix.Unmount(ro, unix.MNT_DETACH)) }()
	must(t, unix.Mount("", ro, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	image := filepath.Join(ro, "disk.img")
	refused(t, r, outcome.Device, []string{image, "writable"}, "storaged", storagedArgs(r, image)...)
	_, err := r.Run("basalt", "fsck", image)
	must(t, err)
}
