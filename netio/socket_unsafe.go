package netio

import (
	"encoding/binary"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Sockets as the kernel sees them: the few calls that do not block and that the ring does not do better.

const unixPathMax = 107 // sun_path is 108 bytes with its final zero

func unixTarget(path string) (target, error) {
	if len(path) == 0 || len(path) > unixPathMax {
		return target{}, fmt.Errorf("netio: socket path %q has %d bytes, a Unix socket takes 1 to %d: choose a shorter directory", path, len(path), unixPathMax)
	}
	raw := binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX)
	raw = append(raw, path...)
	return target{unix.AF_UNIX, append(raw, 0)}, nil
}

func tcpTarget(a *net.TCPAddr) target {
	if ip := a.IP.To4(); ip != nil || a.IP == nil {
		if ip == nil {
			ip = net.IPv4(127, 0, 0, 1).To4()
		}
		raw := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
		raw = binary.BigEndian.AppendUint16(raw, uint16(a.Port))
		raw = append(raw, ip...)
		return target{unix.AF_INET, append(raw, make([]byte, 8)...)}
	}
	raw := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	raw = binary.BigEndian.AppendUint16(raw, uint16(a.Port))
	raw = append(raw, 0, 0, 0, 0)
	raw = append(raw, a.IP.To16()...)
	return target{unix.AF_INET6, append(raw, 0, 0, 0, 0)}
}

// openSocket is in blocking mode: the ring waits for it.
func openSocket(family int) (int32, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if family != unix.AF_UNIX {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return -1, err
		}
	}
	return int32(fd), nil
}

// filesMax is how many descriptors this process may have. Go raises the soft limit to the hard one at its start.
func filesMax() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("netio: asking for the limit of open files: %w", err)
	}
	return l.Cur, nil
}
