package uring

// SQE is a submission entry in the kernel's layout (struct io_uring_sqe, 64 bytes). It is always
// filled by assigning the whole struct: a field left over from the slot's last use would change the
// meaning of the operation (rw_flags of an fdatasync is RWF_HIPRI to a write).
type SQE struct {
	Opcode      uint8
	Flags       uint8 // SQEFixedFile …
	Ioprio      uint16
	Fd          int32 // descriptor, or slot with SQEFixedFile
	Off         uint64
	Addr        uint64
	Len         uint32
	OpFlags     uint32 // rw_flags, fsync_flags, msg_flags, poll events, timeout_flags, cancel_flags …
	UserData    uint64 // the engine's; whoever submits through a Turn leaves it 0
	BufIndex    uint16 // registered buffer, or group with SQEBufferSelect
	Personality uint16
	FileIndex   int32
	Addr3       uint64
	_           uint64
}

// CQE is a completion in the kernel's layout (struct io_uring_cqe, 16 bytes).
type CQE struct {
	UserData uint64
	Res      int32 // result, or -errno
	Flags    uint32
}

// BufID is the number of the provided buffer that this completion used; ok is false if it used none.
func (c CQE) BufID() (id uint16, ok bool) { return BufID(c.Flags) }

// BufID is the number of the provided buffer in a completion's flags.
func BufID(flags uint32) (id uint16, ok bool) {
	return uint16(flags >> cqeBufferShift), flags&CQEFBuffer != 0
}

const (
	sqeBytes       = 64
	cmdOffset      = 48 // where the command area of a 128 byte entry begins
	cqeBufferShift = 16
)

// Opcodes (enum io_uring_op).
const (
	OpNop            uint8 = 0
	OpReadv          uint8 = 1
	OpWritev         uint8 = 2
	OpFsync          uint8 = 3
	OpReadFixed      uint8 = 4
	OpWriteFixed     uint8 = 5
	OpPollAdd        uint8 = 6
	OpPollRemove     uint8 = 7
	OpSyncFileRange  uint8 = 8
	OpSendmsg        uint8 = 9
	OpRecvmsg        uint8 = 10
	OpTimeout        uint8 = 11
	OpTimeoutRemove  uint8 = 12
	OpAccept         uint8 = 13
	OpAsyncCancel    uint8 = 14
	OpLinkTimeout    uint8 = 15
	OpConnect        uint8 = 16
	OpFallocate      uint8 = 17
	OpOpenat         uint8 = 18
	OpClose          uint8 = 19
	OpFilesUpdate    uint8 = 20
	OpStatx          uint8 = 21
	OpRead           uint8 = 22
	OpWrite          uint8 = 23
	OpSend           uint8 = 26
	OpRecv           uint8 = 27
	OpProvideBuffers uint8 = 31
	OpShutdown       uint8 = 34
	OpMsgRing        uint8 = 40
	OpURingCmd       uint8 = 46
	OpSendZC         uint8 = 47
	OpSendmsgZC      uint8 = 48
)

// SQE.Flags.
const (
	SQEFixedFile    uint8 = 1 << 0 // Fd is a slot of the registered files
	SQEIODrain      uint8 = 1 << 1
	SQEIOLink       uint8 = 1 << 2
	SQEIOHardlink   uint8 = 1 << 3
	SQEAsync        uint8 = 1 << 4
	SQEBufferSelect uint8 = 1 << 5 // the kernel picks a buffer of group BufIndex
	SQECQESkip      uint8 = 1 << 6 // no completion on success
)

// CQE.Flags.
const (
	CQEFBuffer       uint32 = 1 << 0 // the high half is a buffer id
	CQEFMore         uint32 = 1 << 1 // more completions of this entry follow
	CQEFSockNonempty uint32 = 1 << 2
	CQEFNotif        uint32 = 1 << 3 // zero-copy send: the memory is free again
)

// CmdBlockDiscard is the command of a block device that discards: BLOCK_URING_CMD_DISCARD, _IO(0x12, 0).
const CmdBlockDiscard uint32 = 0x12 << 8

// Operation flags.
const (
	FsyncDatasync   uint32 = 1 << 0
	CancelAll       uint32 = 1 << 0 // all that match, not the first only
	CancelFd        uint32 = 1 << 1
	CancelAny       uint32 = 1 << 2
	recvPollFirst   uint16 = 1 << 0
	recvMultishot   uint16 = 1 << 1
	acceptMultishot uint16 = 1 << 0
	pollAddMulti    uint32 = 1 << 0 // in Len
)
