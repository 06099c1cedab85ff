package fuse

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/meta/record"
)

// errno is the one table from the outcome of a request to what a program sees.
var errno = [record.Statuses]syscall.Errno{
	record.OK:           0,
	record.NotFound:     syscall.ENOENT,
	record.Exists:       syscall.EEXIST,
	record.NotDir:       syscall.ENOTDIR,
	record.IsDir:        syscall.EISDIR,
	record.NotEmpty:     syscall.ENOTEMPTY,
	record.NoSpace:      syscall.ENOSPC,
	record.Stale:        syscall.ESTALE,
	record.Permission:   syscall.EPERM,
	record.TooLong:      syscall.ENAMETOOLONG,
	record.Loop:         syscall.EINVAL, // rename(2) of a directory into itself; ELOOP is about symbolic links
	record.Invalid:      syscall.EINVAL,
	record.ReadOnly:     syscall.EROFS,
	record.IO:           syscall.EIO,
	record.Corrupt:      syscall.EUCLEAN, // as the local file systems say it
	record.Busy:         syscall.EAGAIN,
	record.NoData:       syscall.ENODATA,
	record.Range:        syscall.ERANGE,
	record.TooManyLinks: syscall.EMLINK,
	record.NotSupported: syscall.EOPNOTSUPP, // ENOSYS would be remembered by the kernel for the whole mount
	record.CrossDevice:  syscall.EXDEV,
	record.Retry:        syscall.EAGAIN,
	record.TooBig:       syscall.EFBIG,
	record.NoSeek:       syscall.ENXIO,
	record.ValueTooBig:  syscall.E2BIG,
	record.TooManyOpen:  syscall.ENFILE,
	record.Interrupted:  syscall.EINTR,
	record.Disconnected: syscall.ENOTCONN,
}

// toErrno maps a status; one that is not in the table is EIO.
func toErrno(s record.Status) fuse.Status {
	if int(s) < len(errno) {
		return fuse.Status(errno[s])
	}
	return fuse.EIO
}
