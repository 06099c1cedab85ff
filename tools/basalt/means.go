package main

import (
	"fmt"
	"strings"

	"basalt/meta/record"
	"basalt/storage/dump"
)

// meansKey says what a user key means to the namespace; empty: nothing.
func meansKey(coll uint16, key []byte) string {
	if len(key) == 0 {
		return ""
	}
	kind := record.Kind(key[0])
	switch kind {
	case record.KindDentry:
		if dir, _, name, err := record.DecodeDentryKey(key); err == nil {
			return fmt.Sprintf("name %q in directory %v", name, dir)
		}
	case record.KindInode, record.KindData, record.KindOrphan:
		what := map[record.Kind]string{record.KindInode: "inode", record.KindData: "data of inode", record.KindOrphan: "orphan inode"}[kind]
		if ino, err := record.DecodeInoKey(key, kind); err == nil {
			return fmt.Sprintf("%s %v", what, ino)
		}
	case record.KindXattr:
		if ino, name, err := record.DecodeXattrKey(key); err == nil {
			return fmt.Sprintf("attribute %q of inode %v", name, ino)
		}
	case record.KindSession:
		if id, err := record.DecodeSessionKey(key); err == nil && coll == record.ShardGroup {
			return fmt.Sprintf("session %#x", id)
		}
	case record.KindIdem:
		if id, slot, err := record.DecodeIdemKey(key); err == nil && coll == record.ShardGroup {
			return fmt.Sprintf("answer in slot %d of session %#x", slot, id)
		}
	case record.KindCounter, record.KindFS, record.KindRecovery:
		if len(key) == 1 {
			return map[record.Kind]string{record.KindCounter: "counter of inodes", record.KindFS: "file system", record.KindRecovery: "replay window"}[kind]
		}
	}
	return ""
}

// meansObject says which part of which file an object is. Twelve letters may be a name that somebody chose.
func meansObject(_ uint16, name []byte) string {
	ino, stripe, err := record.DecodeObjectName(name)
	if err != nil || !strings.HasPrefix(dump.Name(name), "hex:") {
		return ""
	}
	return fmt.Sprintf("stripe %d of inode %v", stripe, ino)
}
