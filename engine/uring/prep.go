package uring

// Constructors of entries. Each returns a whole SQE; UserData is set by whoever pushes it.

// PrepNop completes with 0.
func PrepNop() SQE { return SQE{Opcode: OpNop, Fd: -1} }

// PrepRead reads n bytes at off into addr. off = ^uint64(0): at the file's own position (streams).
func PrepRead(fd int32, addr uint64, n uint32, off uint64) SQE {
	return SQE{Opcode: OpRead, Fd: fd, Off: off, Addr: addr, Len: n}
}

// PrepReadFixed is PrepRead into registered buffer bufIndex, which contains addr.
func PrepReadFixed(fd int32, addr uint64, n uint32, off uint64, bufIndex uint16) SQE {
	return SQE{Opcode: OpReadFixed, Fd: fd, Off: off, Addr: addr, Len: n, BufIndex: bufIndex}
}

// PrepWrite writes n bytes from addr at off.
func PrepWrite(fd int32, addr uint64, n uint32, off uint64) SQE {
	return SQE{Opcode: OpWrite, Fd: fd, Off: off, Addr: addr, Len: n}
}

// PrepWriteFixed is PrepWrite from registered buffer bufIndex, which contains addr.
func PrepWriteFixed(fd int32, addr uint64, n uint32, off uint64, bufIndex uint16) SQE {
	return SQE{Opcode: OpWriteFixed, Fd: fd, Off: off, Addr: addr, Len: n, BufIndex: bufIndex}
}

// PrepFsync flushes the file and the device's cache; datasync leaves out metadata that reading the
// data does not need.
func PrepFsync(fd int32, datasync bool) SQE {
	s := SQE{Opcode: OpFsync, Fd: fd}
	if datasync {
		s.OpFlags = FsyncDatasync
	}
	return s
}

// PrepFallocate is fallocate(2).
func PrepFallocate(fd int32, mode uint32, off, n uint64) SQE {
	return SQE{Opcode: OpFallocate, Fd: fd, Off: off, Addr: n, Len: mode}
}

// PrepRecv receives up to n bytes into addr.
func PrepRecv(fd int32, addr uint64, n uint32, msgFlags uint32) SQE {
	return SQE{Opcode: OpRecv, Fd: fd, Addr: addr, Len: n, OpFlags: msgFlags}
}

// PrepRecvMultishot receives again and again into buffers of the group, one completion each, until one
// comes without CQEFMore (end of stream, error, no buffer left: -ENOBUFS); then it is armed anew.
func PrepRecvMultishot(fd int32, group uint16) SQE {
	return SQE{Opcode: OpRecv, Fd: fd, Ioprio: recvMultishot, Flags: SQEBufferSelect, BufIndex: group}
}

// PrepSend sends n bytes from addr.
func PrepSend(fd int32, addr uint64, n uint32, msgFlags uint32) SQE {
	return SQE{Opcode: OpSend, Fd: fd, Addr: addr, Len: n, OpFlags: msgFlags}
}

// PrepSendZC sends without copying: two completions, the result (CQEFMore) and, when the memory is
// free again, one with CQEFNotif.
func PrepSendZC(fd int32, addr uint64, n uint32, msgFlags uint32) SQE {
	return SQE{Opcode: OpSendZC, Fd: fd, Addr: addr, Len: n, OpFlags: msgFlags}
}

// PrepSendmsg sends what the struct msghdr at addr names; it and its iovecs stay put until completion.
func PrepSendmsg(fd int32, msghdr uint64, msgFlags uint32) SQE {
	return SQE{Opcode: OpSendmsg, Fd: fd, Addr: msghdr, Len: 1, OpFlags: msgFlags}
}

// PrepPollAdd completes once with the events that fd is ready for.
func PrepPollAdd(fd int32, events uint32) SQE {
	return SQE{Opcode: OpPollAdd, Fd: fd, OpFlags: events}
}

// PrepPollMultishot completes at every change until one comes without CQEFMore.
func PrepPollMultishot(fd int32, events uint32) SQE {
	return SQE{Opcode: OpPollAdd, Fd: fd, OpFlags: events, Len: pollAddMulti}
}

// PrepTimeout completes with -ETIME after the struct __kernel_timespec at addr, which stays put.
func PrepTimeout(timespec uint64) SQE {
	return SQE{Opcode: OpTimeout, Fd: -1, Addr: timespec, Len: 1}
}

// PrepCancel asks for the end of the operation with that user data. 0: found; -ENOENT: not there;
// -EALREADY: running. The operation's own completion still comes.
func PrepCancel(userData uint64) SQE {
	return SQE{Opcode: OpAsyncCancel, Fd: -1, Addr: userData}
}

// PrepCancelAny asks for the end of every operation of the ring; the result is how many matched.
func PrepCancelAny() SQE {
	return SQE{Opcode: OpAsyncCancel, Fd: -1, OpFlags: CancelAny | CancelAll}
}

// PrepAccept accepts one connection; flags as accept4(2). The result is its descriptor.
func PrepAccept(fd int32, flags uint32) SQE {
	return SQE{Opcode: OpAccept, Fd: fd, OpFlags: flags}
}

// PrepAcceptMultishot accepts until a completion comes without CQEFMore.
func PrepAcceptMultishot(fd int32, flags uint32) SQE {
	return SQE{Opcode: OpAccept, Fd: fd, OpFlags: flags, Ioprio: acceptMultishot}
}

// PrepConnect connects to the raw socket address of n bytes at addr, which stays put.
func PrepConnect(fd int32, addr uint64, n uint32) SQE {
	return SQE{Opcode: OpConnect, Fd: fd, Addr: addr, Off: uint64(n)}
}

// PrepShutdown is shutdown(2).
func PrepShutdown(fd int32, how int) SQE {
	return SQE{Opcode: OpShutdown, Fd: fd, Len: uint32(how)}
}

// PrepClose closes a descriptor (not a slot).
func PrepClose(fd int32) SQE { return SQE{Opcode: OpClose, Fd: fd} }

// PrepURingCmd is a command that the file behind fd defines; addr and n as it says. Push it by
// PushCmd, with the 80 bytes of its command area.
func PrepURingCmd(fd int32, cmdOp uint32, addr uint64, n uint32) SQE {
	return SQE{Opcode: OpURingCmd, Fd: fd, Off: uint64(cmdOp), Addr: addr, Len: n}
}

// PrepDiscard tells a block device that nothing needs n bytes from off on; their content is undefined from then on. Linux 6.12. -EOPNOTSUPP:
// the kernel, the device or a file that is none cannot; -EINVAL: not a range of whole sectors inside the device. It fits an entry of 64
// bytes: Push takes it.
func PrepDiscard(fd int32, off, n uint64) SQE {
	return SQE{Opcode: OpURingCmd, Fd: fd, Off: uint64(CmdBlockDiscard), Addr: off, Addr3: n}
}

// Fixed makes the entry name a slot of the registered files instead of a descriptor.
func (s SQE) Fixed(slot int32) SQE {
	s.Fd, s.Flags = slot, s.Flags|SQEFixedFile
	return s
}

// Linked makes the next entry pushed wait for this one's success.
func (s SQE) Linked() SQE {
	s.Flags |= SQEIOLink
	return s
}
