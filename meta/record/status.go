package record

// Status is the outcome of a request: our own list, fixed on the wire. Only fuse/ knows errno.
type Status uint16

const (
	OK            Status = 0
	NotFound      Status = 1  // no such name or inode
	Exists        Status = 2  // the name is taken
	NotDir        Status = 3  // a directory was needed
	IsDir         Status = 4  // anything but a directory was needed
	NotEmpty      Status = 5  // the directory has entries
	NoSpace       Status = 6  // the store is full
	Stale         Status = 7  // the session, handle or inode is of an earlier life
	Permission    Status = 8  // not permitted by kind, not by mode bits (those are the kernel's)
	TooLong       Status = 9  // a name or target is too long
	Loop          Status = 10 // more levels than the server walks
	Invalid       Status = 11 // the request makes no sense; a directory would become its own ancestor
	ReadOnly      Status = 12 // the store takes no more writes
	IO            Status = 13 // the device failed
	Corrupt       Status = 14 // a checksum or a structure on disk is wrong
	Busy          Status = 15 // a bound of the server is reached: try again
	NoData        Status = 16 // no such extended attribute
	Range         Status = 17 // the buffer is too small for the value
	TooManyLinks  Status = 18 // LinkMax
	NotSupported  Status = 19 // not by this server
	CrossDevice   Status = 20 // the two are not on one file system
	Retry         Status = 21 // not now: the server recovers or changes; the same request will be answered later
	TooBig        Status = 22 // beyond SizeMax
	NoSeek        Status = 23 // no data (or hole) after the offset
	ValueTooBig   Status = 24 // an extended attribute beyond its limits
	TooManyOpen   Status = 25 // open files or directories of one mount
	Interrupted   Status = 26 // the client gave up waiting
	Disconnected  Status = 27 // the client's own: no server within the time allowed
	statusInvalid Status = 28
)

var statusNames = [statusInvalid]string{"OK", "NotFound", "Exists", "NotDir", "IsDir", "NotEmpty", "NoSpace", "Stale", "Permission",
	"TooLong", "Loop", "Invalid", "ReadOnly", "IO", "Corrupt", "Busy", "NoData", "Range", "TooManyLinks", "NotSupported", "CrossDevice",
	"Retry", "TooBig", "NoSeek", "ValueTooBig", "TooManyOpen", "Interrupted", "Disconnected"}

// Statuses is the number of statuses: tables over all of them are tested against it.
const Statuses = int(statusInvalid)

func (s Status) String() string {
	if s < statusInvalid {
		return statusNames[s]
	}
	return "Status?"
}

// Error makes a Status usable as an error; OK never is one.
func (s Status) Error() string { return "basalt: " + s.String() }
