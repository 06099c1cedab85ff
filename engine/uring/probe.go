package uring

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Probe opens a ring, asks, and closes it again. An unavailable io_uring is told in the report; an error
// means that asking itself failed.
func Probe() (Report, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := Report{Kernel: kernelRelease(), MemlockBytes: memlock()}
	ring, err := OpenNative(Config{Entries: 8, SQE128: true})
	if err != nil {
		r.Reason = err.Error()
		return r, nil
	}
	defer ring.Close()
	n := ring.(*native)
	r.Available, r.Caps = true, n.caps
	p, err := ringProbe(n.fd)
	if err != nil {
		return r, err
	}
	const supported = 1
	for i := range p.ops[:p.opsLen] {
		if o := p.ops[i]; o.flags&supported != 0 {
			r.Ops = append(r.Ops, o.op)
		}
	}
	if b, err := ring.NewBufRing(0, 1, 4096); err != nil {
		r.Caps.BufRings = false
	} else if err := b.Close(); err != nil {
		return r, err
	}
	r.SQPoll, r.IOPoll = opens(Config{Entries: 8, SQPoll: true}), opens(Config{Entries: 8, IOPoll: true})
	return r, nil
}

func opens(cfg Config) bool {
	ring, err := OpenNative(cfg)
	return err == nil && ring.Close() == nil
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return strings.TrimRight(string(u.Release[:]), "\x00")
}

// memlock is the limit that registering buffers runs into: -1 with CAP_IPC_LOCK or no limit.
func memlock() int64 {
	const capIPCLock = 14
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<capIPCLock) != 0 {
		return -1
	}
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l) != nil || l.Cur == unix.RLIM_INFINITY {
		return -1
	}
	return int64(l.Cur)
}
