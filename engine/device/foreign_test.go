package device

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// place puts a magic number into an image.
type place struct {
	off  int64 // negative: from the end
	data string
}

func image(t *testing.T, size int64, places ...place) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	data := make([]byte, size)
	for _, p := range places {
		off := p.off
		if off < 0 {
			off += size
		}
		copy(data[off:], p.data)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const mbrSignature = "\x55\xaa"

func TestForeignContentIsRefusedByName(t *testing.T) {
	const uber = "\x0c\xb1\xba\x00\x00\x00\x00\x00"
	cases := map[string][]place{
		"ext2":          {{0x438, "\x53\xef"}},
		"ext3":          {{0x438, "\x53\xef"}, {0x45c, "\x04"}},
		"ext4":          {{0x438, "\x53\xef"}, {0x45c, "\x04"}, {0x460, "\x40"}},
		"XFS":           {{0, "XFSB"}},
		"btrfs":         {{0x10040, "_BHRfS_M"}},
		"FAT":           {{82, "FAT32   "}, {510, mbrSignature}},
		"NTFS":          {{3, "NTFS    "}, {510, mbrSignature}},
		"exFAT":         {{3, "EXFAT   "}, {510, mbrSignature}},
		"LVM":           {{512, "LABELONE"}, {512 + 24, "LVM2 001"}},
		"md RAID":       {{4096, "\xfc\x4e\x2b\xa9"}},
		"md RAID ":      {{-8192, "\xfc\x4e\x2b\xa9"}},
		"md RAID  ":     {{-65536, "\xfc\x4e\x2b\xa9"}},
		"swap":          {{4086, "SWAPSPACE2"}},
		"ZFS":           {{128 << 10, uber}, {129 << 10, uber}},
		"LUKS":          {{0, "LUKS\xba\xbe"}},
		"GPT":           {{512, "EFI PART"}},
		"GPT ":          {{-512, "EFI PART"}},
		"partition":     {{446 + 4, "\x83"}, {446 + 12, "\x00\x08"}, {510, mbrSignature}},
		"boot sector":   {{0, "\xeb\x3c\x90"}, {510, mbrSignature}},
		"boot sector ":  {{446, "\x12\x34"}, {510, mbrSignature}},
		"f2fs":          {{0x400, "\x10\x20\xf5\xf2"}},
		"squashfs":      {{0, "hsqs"}},
		"ISO 9660":      {{0x8001, "CD001"}},
		"bcachefs":      {{4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"}},
		"a bcache ":     {{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"}},
		"BlueStore":     {{0, "bluestore block device\n"}},
		"VDO":           {{0, "dmvdo001"}},
		"dm-integrity":  {{0, "integrt\x00"}},
		"dm-verity":     {{0, "verity\x00\x00"}},
		"snapshot":      {{0, "SnAp"}},
		"Stratis":       {{512 + 4, "!Stra0tis\x86\xff\x02^\x41rh"}},
		"Stratis ":      {{9*512 + 4, "!Stra0tis\x86\xff\x02^\x41rh"}},
		"BitLocker":     {{3, "-FVE-FS-"}},
		"ReFS":          {{0, "\x00\x00\x00ReFS\x00"}},
		"APFS":          {{32, "NXSB"}},
		"HFS+":          {{1024, "H+\x00\x04"}},
		"NILFS2":        {{1024 + 6, "\x34\x34"}},
		"Oracle ASM":    {{32, "ORCLDISK"}},
		"hibernated":    {{4086, "S1SUSPEND"}},
		"hibernated ":   {{4086, "LINHIB0001"}},
		"DRBD":          {{-4096 + 60, "\x83\x74\x02\x6b"}},
		"DRBD ":         {{-4096 + 60, "\x83\x74\x02\x6d"}},
		"Intel RAID":    {{-1024, "Intel Raid ISM Cfg Sig. "}},
		"GPT partition": {{510, mbrSignature}, {446 + 4, "\xee"}, {446 + 12, "\x01"}, {512, "EFI PART"}},
	}
	for name, places := range cases {
		path := image(t, 4<<20, places...)
		_, err := Open(path, Options{})
		var foreign *ForeignError
		if !errors.As(err, &foreign) || !errors.Is(err, ErrForeign) {
			t.Errorf("%q: Open = %v, want a refusal", name, err)
			continue
		}
		if !strings.Contains(foreign.Found, strings.TrimRight(name, " ")) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: refused as %q", name, err)
		}
		d, err := Open(path, Options{Force: true})
		if err != nil {
			t.Errorf("%q by force: %v", name, err)
			continue
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOwnContentIsNotLookedThrough(t *testing.T) {
	// A foreign magic may be part of what a user stored with us.
	path := image(t, 1<<20, place{0, "OURLABEL"}, place{0x10040, "_BHRfS_M"})
	own := func(head []byte) bool { return strings.HasPrefix(string(head), "OURLABEL") }
	d, err := Open(path, Options{Own: own})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := Open(path, Options{Own: func([]byte) bool { return false }}); !errors.Is(err, ErrForeign) {
		t.Errorf("Open = %v, want ErrForeign", err)
	}
}

func TestIdentifyIsPatientWithAnyBytes(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 1082, 1084, 4096} {
		p := make([]byte, n)
		for i := range p {
			p[i] = 0xff
		}
		if got := Identify(p, p, int64(n)); got != "" {
			t.Errorf("%d bytes of 0xff are %q", n, got)
		}
	}
}

func FuzzIdentify(f *testing.F) {
	f.Add([]byte("XFSB"), []byte("EFI PART"), int64(1<<20))
	f.Add(make([]byte, 512), []byte{}, int64(0))
	f.Fuzz(func(t *testing.T, head, tail []byte, size int64) {
		if size < 0 || int64(len(tail)) > size {
			return
		}
		if name := Identify(head, tail, size); name != "" && len(head)+len(tail) == 0 {
			t.Errorf("nothing at all is %q", name)
		}
	})
}
