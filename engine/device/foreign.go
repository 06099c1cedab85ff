package device

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// ForeignError says what a device holds that is not ours.
type ForeignError struct {
	Device string
	Found  string
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("it holds %s; use force to overwrite it", e.Found)
}

// Unwrap makes it ErrForeign.
func (e *ForeignError) Unwrap() error { return ErrForeign }

const (
	headBytes = 1 << 20 // bcachefs, btrfs and zfs start within 128 KiB + 128 × 1 KiB
	tailBytes = 1 << 18 // md 0.90 and 1.0, GPT's backup, zfs labels
	ownBytes  = 64 << 10
)

// signature is a magic number at a fixed place.
type signature struct {
	name  string
	off   int64
	magic string
}

// signatures at fixed offsets from the start, the more specific first.
var signatures = []signature{
	{"an XFS file system", 0, "XFSB"},
	{"a LUKS volume", 0, "LUKS\xba\xbe"},
	{"a LUKS volume", 0, "SKUL\xba\xbe"},
	{"a btrfs file system", 0x10040, "_BHRfS_M"},
	{"an NTFS file system", 3, "NTFS    "},
	{"an exFAT file system", 3, "EXFAT   "},
	{"a FAT file system", 82, "FAT32   "},
	{"a FAT file system", 54, "FAT16   "},
	{"a FAT file system", 54, "FAT12   "},
	{"an f2fs file system", 0x400, "\x10\x20\xf5\xf2"},
	{"a bcache device", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"a bcachefs file system", 4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"},
	{"an erofs file system", 1024, "\xe2\xe1\xf5\xe0"},
	{"a squashfs file system", 0, "hsqs"},
	{"an ISO 9660 file system", 0x8001, "CD001"},
	{"a UDF file system", 0x8001, "BEA01"},
	{"a Ceph BlueStore device", 0, "bluestore block device"},
	{"swap space", 4086, "SWAPSPACE2"},
	{"swap space", 4086, "SWAP-SPACE"},
	{"swap space", 16374, "SWAPSPACE2"},
	{"swap space", 65526, "SWAPSPACE2"},
	{"an md RAID member", 0, "\xfc\x4e\x2b\xa9"},
	{"an md RAID member", 4096, "\xfc\x4e\x2b\xa9"},
	{"a JFS file system", 0x8000, "JFS1"},
	{"a ReiserFS file system", 0x10034, "ReIsEr"},
	{"a GFS2 file system", 0x10000, "\x01\x16\x19\x70"},
	{"an OCFS2 file system", 0x2000, "OCFSV2"},
	{"a GPT partition table", 512, "EFI PART"},
	{"a GPT partition table", 4096, "EFI PART"},
	{"a LUKS volume", 0x4000, "SKUL\xba\xbe"},
	{"a VDO volume", 0, "dmvdo001"},
	{"a dm-integrity volume", 0, "integrt\x00"},
	{"a dm-verity volume", 0, "verity\x00\x00"},
	{"a device-mapper snapshot", 0, "SnAp"},
	{"a Stratis pool member", 512 + 4, "!Stra0tis\x86\xff\x02^\x41rh"},
	{"a Stratis pool member", 9*512 + 4, "!Stra0tis\x86\xff\x02^\x41rh"},
	{"a BitLocker volume", 3, "-FVE-FS-"},
	{"a ReFS file system", 0, "\x00\x00\x00ReFS\x00"},
	{"an APFS container", 32, "NXSB"},
	{"an HFS+ file system", 1024, "H+"},
	{"an HFS+ file system", 1024, "HX"},
	{"a NILFS2 file system", 1024 + 6, "\x34\x34"},
	{"an Oracle ASM disk", 32, "ORCLDISK"},
	{"a hibernated system", 4086, "S1SUSPEND"},
	{"a hibernated system", 4086, "S2SUSPEND"},
	{"a hibernated system", 4086, "ULSUSPEND"},
	{"a hibernated system", 4086, "LINHIB0001"},
}

// Identify names what the first and the last bytes of a device of that size show; "" for nothing known.
// tail ends at the device's end.
func Identify(head, tail []byte, bytesAll int64) string {
	if name := identifyExt(head); name != "" {
		return name
	}
	for _, s := range signatures {
		if has(head, s.off, s.magic) {
			return s.name
		}
	}
	// LVM2 puts its label into one of the first four sectors.
	for sector := int64(0); sector < 4; sector++ {
		if has(head, sector*512, "LABELONE") && has(head, sector*512+24, "LVM2 001") {
			return "an LVM physical volume"
		}
	}
	if isZFS(head) {
		return "a ZFS pool member"
	}
	if name := identifyTail(tail, bytesAll); name != "" {
		return name
	}
	return identifyMBR(head)
}

// identifyExt tells ext2, 3 and 4 apart by their feature words.
func identifyExt(head []byte) string {
	if !has(head, 0x438, "\x53\xef") || len(head) < 0x468 {
		return ""
	}
	compat := binary.LittleEndian.Uint32(head[0x45c:])
	incompat := binary.LittleEndian.Uint32(head[0x460:])
	const journal, extents, bits64, flexBG = 0x4, 0x40, 0x80, 0x200
	switch {
	case incompat&(extents|bits64|flexBG) != 0:
		return "an ext4 file system"
	case compat&journal != 0:
		return "an ext3 file system"
	}
	return "an ext2 file system"
}

// isZFS looks for uberblocks: at 128 KiB, every KiB; one alone could be chance.
func isZFS(head []byte) bool {
	found := 0
	for off := int64(128 << 10); off+8 <= int64(len(head)) && off < 256<<10; off += 1024 {
		if has(head, off, "\x0c\xb1\xba\x00\x00\x00\x00\x00") || has(head, off, "\x00\x00\x00\x00\x00\xba\xb1\x0c") {
			found++
		}
	}
	return found >= 2
}

// identifyTail finds what stands at the end: md 0.90 in the last 64 KiB aligned 64 KiB, md 1.0 in the last
// 8 KiB aligned 4 KiB, the backup GPT in the last sector, DRBD's internal metadata in the last 4 KiB, an
// Intel array's in the last but one sector.
func identifyTail(tail []byte, bytesAll int64) string {
	start := bytesAll - int64(len(tail))
	at := func(off int64, magic string) bool { return off >= start && has(tail, off-start, magic) }
	const md = "\xfc\x4e\x2b\xa9"
	switch {
	case at(bytesAll&^0xffff-0x10000, md), at((bytesAll-8192)&^0xfff, md):
		return "an md RAID member"
	case at(bytesAll-512, "EFI PART"), at(bytesAll-4096, "EFI PART"):
		return "a GPT partition table"
	case at(bytesAll-4096+60, "\x83\x74\x02\x6b"), at(bytesAll-4096+60, "\x83\x74\x02\x6c"), at(bytesAll-4096+60, "\x83\x74\x02\x6d"):
		return "a DRBD device"
	case at(bytesAll-1024, "Intel Raid ISM Cfg Sig. "):
		return "an Intel RAID member"
	}
	return ""
}

// identifyMBR recognises a partition table: the signature, and four entries that are empty or plausible,
// of which one is not empty.
func identifyMBR(head []byte) string {
	if !has(head, 510, "\x55\xaa") {
		return ""
	}
	used := 0
	for i := range 4 {
		entry := head[446+16*i : 446+16*i+16]
		if entry[0] != 0 && entry[0] != 0x80 {
			return "a boot sector"
		}
		if entry[4] != 0 && binary.LittleEndian.Uint32(entry[12:]) != 0 {
			used++
		}
	}
	if used == 0 {
		return "a boot sector"
	}
	return "a partition table"
}

func has(p []byte, off int64, magic string) bool {
	return off >= 0 && off+int64(len(magic)) <= int64(len(p)) && bytes.Equal(p[off:off+int64(len(magic))], []byte(magic))
}

// refuseForeign reads both ends, through a descriptor of its own (this memory is not aligned), and
// returns a *ForeignError if they show something that is not ours.
func refuseForeign(path string, bytesAll int64, own func([]byte) bool) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("looking at its content: %w", err)
	}
	defer file.Close()
	head := make([]byte, min(headBytes, bytesAll))
	if _, err := file.ReadAt(head, 0); err != nil && err != io.EOF {
		return fmt.Errorf("looking at its content: %w", err)
	}
	if own != nil && own(head[:min(ownBytes, len(head))]) {
		return nil
	}
	tail := make([]byte, min(tailBytes, bytesAll))
	if _, err := file.ReadAt(tail, bytesAll-int64(len(tail))); err != nil && err != io.EOF {
		return fmt.Errorf("looking at its content: %w", err)
	}
	if found := Identify(head, tail, bytesAll); found != "" {
		return &ForeignError{Device: path, Found: found}
	}
	return nil
}
