package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sys/unix"
)

// longTransfer is how long a transfer may take in silence.
const longTransfer = 2 * time.Second

// transfer shows on a terminal how far a long transfer is. It is written what is transferred.
type transfer struct {
	out   io.Writer
	what  string
	size  int64 // below 0: unknown
	done  int64
	began time.Time
	bar   *progressbar.ProgressBar
}

// newTransfer shows nothing where nobody looks: out is not a terminal.
func newTransfer(out io.Writer, what string, size int64) *transfer {
	file, ok := out.(*os.File)
	if ok {
		_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
		ok = err == nil
	}
	if !ok {
		out = nil
	}
	return &transfer{out: out, what: what, size: size, began: time.Now()}
}

func (p *transfer) Write(b []byte) (int, error) {
	p.advance(int64(len(b)))
	return len(b), nil
}

func (p *transfer) advance(n int64) {
	p.done += n
	if p.out == nil {
		return
	}
	if p.bar == nil && time.Since(p.began) > longTransfer {
		p.bar = progressbar.NewOptions64(p.size, progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(p.what),
			progressbar.OptionShowBytes(true), progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	if p.bar != nil {
		_ = p.bar.Set64(p.done) // only the show suffers
	}
}

// reach shows that so much of the whole is done, of something that is not written here.
func (p *transfer) reach(done, size int64) {
	p.size = size
	if p.bar != nil {
		p.bar.ChangeMax64(max(size, done))
	}
	p.done = 0
	p.advance(done)
}

// end takes the bar off the terminal.
func (p *transfer) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
