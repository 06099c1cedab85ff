// Package fio runs the public fio tool and reads its figures: the ceiling that the engine and the store are held to.
//
// fio is named, not installed, by this package: Find says what to install. A job is bounded in time by fio itself
// (time_based, runtime) and, should that fail, by a deadline on the process.
package fio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// Job is one fio job on one file, O_DIRECT through io_uring.
type Job struct {
	File    string
	RW      string // randread, randwrite, read, write
	Block   int    // bytes
	Depth   int
	Size    int64 // bytes of the file that the job touches
	Seconds float64
	Fixed   bool // registered files and buffers, as the engine uses
}

// ErrMissing says that fio is not installed.
var ErrMissing = errors.New("fio is not installed: apt-get install fio")

// Find returns the path of fio.
func Find() (string, error) {
	p, err := exec.LookPath("fio")
	if err != nil {
		return "", ErrMissing
	}
	return p, nil
}

// report is the part of fio's JSON output that is read.
type report struct {
	Jobs []struct {
		Error int       `json:"error"`
		Read  direction `json:"read"`
		Write direction `json:"write"`
	} `json:"jobs"`
}

type direction struct {
	IOPS float64 `json:"iops"`
	BW   float64 `json:"bw_bytes"`
}

// Figures of one run; the direction that the job does not use is zero.
type Figures struct {
	IOPS  float64
	Bytes float64 // per second
}

// Run executes the job and returns its figures.
func Run(j Job) (Figures, error) {
	path, err := Find()
	if err != nil {
		return Figures{}, err
	}
	limit := time.Duration((j.Seconds + 30) * float64(time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, j.args()...).Output()
	if err != nil {
		return Figures{}, fmt.Errorf("fio %s on %s: %w", j.RW, j.File, err)
	}
	return parse(out)
}

func (j Job) args() []string {
	a := []string{
		"--name=ceiling", "--output-format=json", "--ioengine=io_uring", "--direct=1", "--thread",
		"--filename=" + j.File, "--rw=" + j.RW,
		"--bs=" + strconv.Itoa(j.Block), "--iodepth=" + strconv.Itoa(j.Depth),
		"--size=" + strconv.FormatInt(j.Size, 10),
		"--time_based=1", "--runtime=" + strconv.FormatInt(int64(j.Seconds*1000), 10) + "ms", // a fraction of a second would be cut off; 0 is no limit
		"--allow_file_create=0", "--randrepeat=0", "--norandommap=1",
	}
	if j.Fixed {
		a = append(a, "--fixedbufs=1", "--registerfiles=1")
	}
	return a
}

func parse(out []byte) (Figures, error) {
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		return Figures{}, fmt.Errorf("fio's report: %w", err)
	}
	if len(r.Jobs) != 1 {
		return Figures{}, fmt.Errorf("fio's report names %d jobs, wanted 1", len(r.Jobs))
	}
	job := r.Jobs[0]
	if job.Error != 0 {
		return Figures{}, fmt.Errorf("fio's job ended with error %d", job.Error)
	}
	return Figures{IOPS: job.Read.IOPS + job.Write.IOPS, Bytes: job.Read.BW + job.Write.BW}, nil
}
