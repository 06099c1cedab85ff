package main

import (
	"encoding/binary"
	"fmt"
	"os"
)

// progress is what the load says of itself, in a file outside the disk: written before anybody could rely on it, and
// there when the load is killed, because the kernel has it then.
type progress struct {
	Begun       uint64 // no transaction above this can have reached the disk
	Committed   uint64 // every transaction up to this was reported as committed
	Replayed    uint64 // journal records that the mount replayed
	Mounted     uint64 // 1 when the store served
	Checkpoints uint64
	RecordBytes uint64 // of the journal
	Discards    uint64
}

const progressBytes = 7 * 8

func (p *progress) save(file *os.File) error {
	var b [progressBytes]byte
	for i, v := range []uint64{p.Begun, p.Committed, p.Replayed, p.Mounted, p.Checkpoints, p.RecordBytes, p.Discards} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	if _, err := file.WriteAt(b[:], 0); err != nil {
		return fmt.Errorf("note the progress: %w", err)
	}
	return nil
}

func readProgress(path string) (p progress, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return p, err
	}
	if len(b) != progressBytes {
		return p, fmt.Errorf("%s has %d bytes, want %d", path, len(b), progressBytes)
	}
	for i, v := range []*uint64{&p.Begun, &p.Committed, &p.Replayed, &p.Mounted, &p.Checkpoints, &p.RecordBytes, &p.Discards} {
		*v = binary.LittleEndian.Uint64(b[8*i:])
	}
	return p, nil
}
