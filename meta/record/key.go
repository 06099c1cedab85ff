package record

import "encoding/binary"

// Kind is the first byte of every key of the namespace. Numbers in keys are big-endian: their order is the order of the tree.
type Kind byte

const (
	KindNothing  Kind = 0x00 // no key
	KindDentry   Kind = 0x01 // parent ino 8 | hash 8 | name → Dentry; in the group of the parent
	KindInode    Kind = 0x02 // ino 8 → Inode; this and all below in the group of the inode
	KindData     Kind = 0x03 // ino 8 → inline bytes of a file, target of a symlink
	KindXattr    Kind = 0x04 // ino 8 | name → value
	KindOrphan   Kind = 0x05 // ino 8 → Orphan: an inode without names
	KindLock     Kind = 0x06 // reserved: durable file locks
	KindCounter  Kind = 0x07 // → Counter of the group
	KindFS       Kind = 0x10 // → FS; this and those below in ShardGroup
	KindSession  Kind = 0x11 // session 8 → Session
	KindIdem     Kind = 0x12 // session 8 | slot 2 → Idem
	KindRecovery Kind = 0x13 // → Recovery: a replay window is open
)

// ShardGroup is the collection of what belongs to a shard and not to a placement group.
const ShardGroup uint16 = 0xFFFF

// GroupsMax bounds the number of placement groups.
const GroupsMax = 0xFFFF

// KeyMax bounds a key of the namespace: kind, parent, hash, name.
const KeyMax = 1 + 8 + 8 + NameMax

// ObjectNameSize is the length of an object's name: ino 8 BE | stripe 4 BE.
const ObjectNameSize = 12

// AppendDentryKey makes the key of a name in a directory.
func AppendDentryKey(b []byte, dir Ino, hash uint64, name []byte) []byte {
	b = append(b, byte(KindDentry))
	b = binary.BigEndian.AppendUint64(b, uint64(dir))
	b = binary.BigEndian.AppendUint64(b, hash)
	return append(b, name...)
}

// DecodeDentryKey takes a dentry key apart; name aliases b.
func DecodeDentryKey(b []byte) (dir Ino, hash uint64, name []byte, err error) {
	const head = 1 + 8 + 8
	if len(b) <= head || len(b) > head+NameMax || Kind(b[0]) != KindDentry {
		return 0, 0, nil, &CorruptError{What: "dentry key", Want: head + 1, Got: uint64(len(b))}
	}
	return Ino(binary.BigEndian.Uint64(b[1:])), binary.BigEndian.Uint64(b[9:]), b[head:], nil
}

// AppendInoKey makes the key of kind for an inode: Inode, Data, Orphan, and the start of its Xattr and Dentry ranges.
func AppendInoKey(b []byte, kind Kind, ino Ino) []byte {
	return binary.BigEndian.AppendUint64(append(b, byte(kind)), uint64(ino))
}

// AppendInoEnd makes the first key behind all keys of kind for an inode.
func AppendInoEnd(b []byte, kind Kind, ino Ino) []byte {
	if ino == ^Ino(0) {
		return append(b, byte(kind)+1)
	}
	return AppendInoKey(b, kind, ino+1)
}

// DecodeInoKey takes a key of one inode apart.
func DecodeInoKey(b []byte, kind Kind) (Ino, error) {
	if len(b) != 9 || Kind(b[0]) != kind {
		return 0, &CorruptError{What: "inode key", Want: 9, Got: uint64(len(b))}
	}
	return Ino(binary.BigEndian.Uint64(b[1:])), nil
}

// AppendXattrKey makes the key of an extended attribute.
func AppendXattrKey(b []byte, ino Ino, name []byte) []byte {
	return append(AppendInoKey(b, KindXattr, ino), name...)
}

// DecodeXattrKey takes the key of an extended attribute apart; name aliases b.
func DecodeXattrKey(b []byte) (ino Ino, name []byte, err error) {
	if len(b) < 10 || len(b) > 9+NameMax || Kind(b[0]) != KindXattr {
		return 0, nil, &CorruptError{What: "xattr key", Want: 10, Got: uint64(len(b))}
	}
	return Ino(binary.BigEndian.Uint64(b[1:])), b[9:], nil
}

// AppendSessionKey makes the key of a session's record.
func AppendSessionKey(b []byte, session uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, byte(KindSession)), session)
}

// DecodeSessionKey takes it apart.
func DecodeSessionKey(b []byte) (uint64, error) {
	if len(b) != 9 || Kind(b[0]) != KindSession {
		return 0, &CorruptError{What: "session key", Want: 9, Got: uint64(len(b))}
	}
	return binary.BigEndian.Uint64(b[1:]), nil
}

// AppendIdemKey makes the key of a remembered answer; its slot is the request id modulo IdemSlots.
func AppendIdemKey(b []byte, session, request uint64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, byte(KindIdem)), session)
	return binary.BigEndian.AppendUint16(b, uint16(request%IdemSlots))
}

// AppendIdemEnd makes the first key behind all remembered answers of a session.
func AppendIdemEnd(b []byte, session uint64) []byte {
	if session == ^uint64(0) {
		return append(b, byte(KindIdem)+1)
	}
	return binary.BigEndian.AppendUint64(append(b, byte(KindIdem)), session+1)
}

// AppendObjectName makes the name of a stripe's object.
func AppendObjectName(b []byte, ino Ino, stripe uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, uint64(ino)), stripe)
}

// DecodeObjectName takes it apart.
func DecodeObjectName(b []byte) (Ino, uint32, error) {
	if len(b) != ObjectNameSize {
		return 0, 0, &CorruptError{What: "object name", Want: ObjectNameSize, Got: uint64(len(b))}
	}
	return Ino(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:]), nil
}

// AppendCounterKey makes the key of a group's Counter.
func AppendCounterKey(b []byte) []byte { return append(b, byte(KindCounter)) }

// AppendFSKey makes the key of FS.
func AppendFSKey(b []byte) []byte { return append(b, byte(KindFS)) }

// AppendRecoveryKey makes the key of Recovery.
func AppendRecoveryKey(b []byte) []byte { return append(b, byte(KindRecovery)) }

// DecodeIdemKey takes the key of a remembered answer apart.
func DecodeIdemKey(b []byte) (session uint64, slot uint16, err error) {
	if len(b) != 11 || Kind(b[0]) != KindIdem {
		return 0, 0, &CorruptError{What: "idem key", Want: 11, Got: uint64(len(b))}
	}
	return binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint16(b[9:]), nil
}
