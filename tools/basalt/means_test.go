package main

import (
	"testing"

	"basalt/meta/record"
)

func TestMeans(t *testing.T) {
	ino := record.MakeIno(3, 17)
	for _, c := range []struct {
		coll uint16
		key  []byte
		want string
	}{
		{3, record.AppendDentryKey(nil, ino, 99, []byte("a b")), `name "a b" in directory 3.17`},
		{3, record.AppendInoKey(nil, record.KindInode, ino), "inode 3.17"},
		{3, record.AppendInoKey(nil, record.KindData, ino), "data of inode 3.17"},
		{3, record.AppendInoKey(nil, record.KindOrphan, ino), "orphan inode 3.17"},
		{3, record.AppendXattrKey(nil, ino, []byte("user.x")), `attribute "user.x" of inode 3.17`},
		{3, record.AppendCounterKey(nil), "counter of inodes"},
		{record.ShardGroup, record.AppendFSKey(nil), "file system"},
		{record.ShardGroup, record.AppendRecoveryKey(nil), "replay window"},
		{record.ShardGroup, record.AppendSessionKey(nil, 0xabc), "session 0xabc"},
		{record.ShardGroup, record.AppendIdemKey(nil, 0xabc, 1025), "answer in slot 1 of session 0xabc"},
		{3, record.AppendSessionKey(nil, 0xabc), ""},
		{3, nil, ""},
		{3, []byte{byte(record.KindInode), 1}, ""},
		{3, []byte("something else"), ""},
	} {
		if got := meansKey(c.coll, c.key); got != c.want {
			t.Errorf("key %x means %q, want %q", c.key, got, c.want)
		}
	}
	if got := meansObject(3, record.AppendObjectName(nil, ino, 5)); got != "stripe 5 of inode 3.17" {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"twelve_bytes", "short", ""} {
		if got := meansObject(3, []byte(name)); got != "" {
			t.Errorf("object %q means %q", name, got)
		}
	}
}
