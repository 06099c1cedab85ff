package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"basalt/tools/control"
	"basalt/tools/rig"
)

// result counts what the loop has seen.
type result struct {
	rounds, inCheckpoint   int
	inFlight, withoutLoad  int // requests in flight over all kills; kills that met none
	filesChecked           int
	bytesChecked           int64
	recovery, recoveryMost time.Duration
}

// checkpointPatience is how long a round waits for a checkpoint to run before it kills at that moment anyway.
const checkpointPatience = 30 * time.Second

func rounds(o options, r *rig.Rig) (err error) {
	if err := r.Mkfs(); err != nil {
		return err
	}
	if err := r.StartNode(); err != nil {
		return err
	}
	if err := r.Mount(); err != nil {
		return err
	}
	acks, err := os.Create(filepath.Join(o.dir, "acknowledged.log"))
	if err != nil {
		return err
	}
	defer acks.Close()
	l, err := startLoad(o, r.Mnt(), acks)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && !r.NodeRuns() {
			err = errors.Join(err, r.KillMount()) // else the workers would wait in the mount for a node that does not come back
		}
		l.end()
	}()
	random := rand.New(rand.NewPCG(o.seed, 0))
	var sum result
	for n := 1; n <= o.rounds; n++ {
		// The rounds that wait for a checkpoint are spread evenly.
		wantCheckpoint := n*o.inCheckpoint/o.rounds != (n-1)*o.inCheckpoint/o.rounds
		delay := time.Duration(random.Int64N(int64(o.killAfterMax)))
		if err := sum.one(n, o, r, l, delay, wantCheckpoint); err != nil {
			return fmt.Errorf("round %d (seed %d): %w", n, o.seed, err)
		}
	}
	return sum.report(o, r, l)
}

// one round: load, kill, check the image, restart, let the load go on, check everything.
func (s *result) one(n int, o options, r *rig.Rig, l *load, delay time.Duration, wantCheckpoint bool) error {
	<-time.After(delay)
	caught := wantCheckpoint && untilCheckpoint(r)
	flying := l.inFlight()
	if err := r.KillNode(); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	s.rounds++
	s.inFlight += flying
	if flying == 0 {
		s.withoutLoad++
	}
	if caught {
		s.inCheckpoint++
	}
	if found, err := r.Fsck(); err != nil {
		return fmt.Errorf("the check after the kill: %w\n%s", err, found)
	}
	began := time.Now()
	if err := r.StartNode(); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if err := l.pause(); err != nil { // returns when every program has had its answer: the mount went on
		return err
	}
	took := time.Since(began)
	s.recovery += took
	s.recoveryMost = max(s.recoveryMost, took)
	forgetCaches()
	files, bytes, err := l.check()
	if err != nil {
		return fmt.Errorf("after the restart: %w", err)
	}
	s.filesChecked += files
	s.bytesChecked += bytes
	fmt.Printf("round %d: killed after %v (in flight %d, checkpoint %v), back in %v, %d files with %d KiB as they must be\n",
		n, delay.Round(time.Millisecond), flying, caught, took.Round(time.Millisecond), files, bytes>>10)
	l.resume()
	return nil
}

// untilCheckpoint returns true as soon as the node says that a checkpoint runs.
func untilCheckpoint(r *rig.Rig) bool {
	for deadline := time.Now().Add(checkpointPatience); time.Now().Before(deadline); {
		status, err := control.Ask(r.NodeControl())
		if err == nil && status.Sum("shard", "checkpoint_running") > 0 {
			return true
		}
	}
	return false
}

func (s *result) report(o options, r *rig.Rig, l *load) error {
	status, err := r.Status(r.Mnt())
	if err != nil {
		return err
	}
	fmt.Printf("killloop: %d kills, %d during a checkpoint, %d with requests in flight (%.1f on average); %d operations, %d fsyncs acknowledged\n",
		s.rounds, s.inCheckpoint, s.rounds-s.withoutLoad, float64(s.inFlight)/float64(max(s.rounds, 1)), l.operations(), l.fsyncs())
	fmt.Printf("killloop: %d files and %d MiB compared; back after %v on average, %v at most; requests over io_uring %.0f, over /dev/fuse %.0f\n",
		s.filesChecked, s.bytesChecked>>20, (s.recovery / time.Duration(max(s.rounds, 1))).Round(time.Millisecond), s.recoveryMost.Round(time.Millisecond),
		status.Sum("fuse", "requests_uring_total"), status.Sum("fuse", "requests_dev_total"))
	switch {
	case s.inCheckpoint*2 < o.inCheckpoint:
		return fmt.Errorf("only %d of %d kills met a running checkpoint: nothing is proved about them", s.inCheckpoint, o.inCheckpoint)
	case s.withoutLoad*2 > s.rounds:
		return fmt.Errorf("%d of %d kills met no request in flight: the load is too small", s.withoutLoad, s.rounds)
	case o.fuseTransport == "uring" && status.Sum("fuse", "requests_uring_total") == 0:
		return fmt.Errorf("the mount was to use io_uring, and no request came that way")
	}
	fmt.Println("killloop: all is as it must be")
	return nil
}
