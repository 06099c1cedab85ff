package fuse

import (
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/meta/record"
)

// Every status has its row, and every row is what the manual pages say.
func TestErrno(t *testing.T) {
	rows := []struct {
		s record.Status
		e syscall.Errno
	}{
		{record.OK, 0}, {record.NotFound, syscall.ENOENT}, {record.Exists, syscall.EEXIST}, {record.NotDir, syscall.ENOTDIR},
		{record.IsDir, syscall.EISDIR}, {record.NotEmpty, syscall.ENOTEMPTY}, {record.NoSpace, syscall.ENOSPC},
		{record.Stale, syscall.ESTALE}, {record.Permission, syscall.EPERM}, {record.TooLong, syscall.ENAMETOOLONG},
		{record.Loop, syscall.EINVAL}, {record.Invalid, syscall.EINVAL}, {record.ReadOnly, syscall.EROFS}, {record.IO, syscall.EIO},
		{record.Corrupt, syscall.EUCLEAN}, {record.Busy, syscall.EAGAIN}, {record.NoData, syscall.ENODATA},
		{record.Range, syscall.ERANGE}, {record.TooManyLinks, syscall.EMLINK}, {record.NotSupported, syscall.EOPNOTSUPP},
		{record.CrossDevice, syscall.EXDEV}, {record.Retry, syscall.EAGAIN}, {record.TooBig, syscall.EFBIG},
		{record.NoSeek, syscall.ENXIO}, {record.ValueTooBig, syscall.E2BIG}, {record.TooManyOpen, syscall.ENFILE},
		{record.Interrupted, syscall.EINTR}, {record.Disconnected, syscall.ENOTCONN},
	}
	if len(rows) != record.Statuses {
		t.Errorf("%d rows for %d statuses", len(rows), record.Statuses)
	}
	seen := map[record.Status]bool{}
	for _, r := range rows {
		if seen[r.s] {
			t.Errorf("%v stands twice", r.s)
		}
		seen[r.s] = true
		if got := toErrno(r.s); got != fuse.Status(r.e) {
			t.Errorf("%v is %v, want %v", r.s, got, r.e)
		}
		if r.s != record.OK && r.e == 0 {
			t.Errorf("%v has no errno", r.s)
		}
	}
	if got := toErrno(record.Status(record.Statuses)); got != fuse.EIO {
		t.Errorf("an unknown status is %v", got)
	}
}
