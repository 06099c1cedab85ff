package campaign

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage"
)

// cut is the state of the disk at one device event of a life, and what the store had promised by then.
type cut struct {
	n                 int
	op                uint64 // device operations begun
	what              string
	disk              *sim.Disk
	reported, applied uint64
}

// where is an override from the environment, to run one failure again.
func where(t *testing.T, name string) (uint64, bool) {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, v, err)
	}
	return n, true
}

// The power goes at every single device operation, at its begin and at its end, of a workload with checkpoints, laps of the
// journal, a full device, truncates, range deletes and whole collections removed; what is left must be right each time.
func TestPowerCutEverywhere(t *testing.T) {
	seed, one := where(t, "BASALT_SEED")
	if !one {
		seed = 1
	}
	only, picked := where(t, "BASALT_CUT")
	m, cuts, p := recordCuts(t, seed)
	const parts = 4
	for part := range parts {
		t.Run(fmt.Sprintf("part%d", part), func(t *testing.T) {
			t.Parallel()
			for i := part; i < len(cuts); i += parts {
				if picked && uint64(i) != only {
					continue
				}
				c := cuts[i]
				cuts[i].disk = nil // let the memory go
				if err := surviveCut(p, m, &c, seed<<32+uint64(i)); err != nil {
					t.Fatalf("cut %d (%s, operation %d; reported %d, applied %d): %v\nrerun: BASALT_SEED=%d BASALT_CUT=%d go test -run TestPowerCutEverywhere ./storage/campaign",
						i, c.what, c.op, c.reported, c.applied, err, seed, i)
				}
			}
		})
	}
}

// recordCuts lives a whole life and keeps the disk at each event.
func recordCuts(t *testing.T, seed uint64) (*model, []cut, plan) {
	t.Helper()
	p := plan{seed: seed, disk: 8 << 20, journal: 256 << 10, node: 8 << 10, opt: tiny(), fibers: 3, txns: 60, actions: 6}
	p.opt.ExactBlocksMax = 64
	m := newModel()
	l, err := begin(p, seed, nil, m)
	if err != nil {
		t.Fatal(err)
	}
	defer l.end()
	must := func(what string, err error) {
		t.Helper()
		if err == nil {
			err = l.bad
		}
		if err != nil {
			t.Fatalf("seed %d: %s: %v\n%s", seed, what, err, tail(l.w.Dump()))
		}
	}
	var cuts []cut
	must("format", l.format())
	l.disk.OnEvent(func(d *sim.Disk, what string) {
		applied := uint64(0)
		if l.s != nil {
			applied = uint64(l.s.Applied())
		}
		cuts = append(cuts, cut{n: len(cuts), op: d.Ops(), what: what, disk: d.Fork(), reported: l.reported, applied: applied})
	})
	must("mount", l.mount())
	must("collections", l.makeCollections())
	must("first work", l.workload())
	must("filling", l.fillUp())
	must("emptying", l.empty())
	must("second work", l.workload())
	st := l.s.Stats()
	defer func() {
		t.Logf("seed %d: %d power cuts, %d transactions in %d groups, %d checkpoints, journal written %d times over, %d times full",
			seed, len(cuts), st.Transactions, st.Groups, st.Checkpoints, st.RecordBytes/uint64(p.journal), l.fulls)
	}()
	must("unmount", l.unmount())
	laps := st.RecordBytes / uint64(p.journal)
	if st.Checkpoints < 2 || laps < 1 || l.fulls == 0 || l.scans == 0 || l.reads == 0 {
		t.Fatalf("the workload is too tame: %d checkpoints, %d laps of the journal, %d times full, %d snapshots, %d reads",
			st.Checkpoints, laps, l.fulls, l.scans, l.reads)
	}
	return m, cuts, p
}

// surviveCut loses power in the given state and checks everything that is left.
func surviveCut(p plan, m *model, c *cut, seed uint64) error {
	return surviveLoss(p, m, c.n, c.reported, c.applied, c.disk.AfterPowerLossSeed(seed))
}

// surviveLoss checks what a power cut has left: the check finds nothing, everything is there that was reported as committed,
// nothing is half applied, and the store goes on. Every fourth is mounted once more.
func surviveLoss(p plan, m *model, n int, reported, applied uint64, left *sim.Disk) error {
	l, err := begin(p, p.seed<<32+uint64(n), left, m)
	if err != nil {
		return err
	}
	defer l.end()
	if err := l.fsck(); err != nil {
		return fmt.Errorf("fsck before the mount: %w", err)
	}
	if err := l.mount(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	at, err := l.verify(reported, applied)
	if err != nil {
		return err
	}
	removed, err := l.goOn(at)
	if err != nil {
		return fmt.Errorf("first transaction after recovery to %d: %w", at, err)
	}
	if err := l.unmount(); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	if err := l.fsck(); err != nil {
		return fmt.Errorf("fsck after the unmount: %w", err)
	}
	if n%4 != 0 {
		return nil
	}
	if err := l.mount(); err != nil || removed > 0 {
		if err != nil {
			err = fmt.Errorf("second mount: %w", err)
		}
		return err
	}
	if _, err := l.verify(at, at); err != nil {
		return fmt.Errorf("second mount: %w", err)
	}
	return nil
}

// goOn writes a little to a store that was recovered to transaction at. One that was full before may refuse that, but only if it says that nothing is
// available, and not for ever: every removal is taken, and with what they free the write is taken too. removed is how many objects went.
func (l *life) goOn(at uint64) (removed int, err error) {
	err = l.do(func(f *engine.Fiber) error {
		for i := 0; ; i++ {
			seq, err := l.s.Update(f, func(tx *storage.Tx) error {
				if !tx.HasCollection(9) {
					if err := tx.CreateCollection(9); err != nil {
						return err
					}
				}
				return tx.Put(9, []byte("after"), []byte("the cut"))
			})
			if err == nil {
				return l.s.Commit(f, seq)
			}
			if !errors.Is(err, storage.ErrFull) || i == len(l.m.objects.names) {
				return err
			}
			if sp := l.s.Space(); sp.Avail > 0 {
				return differ("%v: %d blocks of %d are available", err, sp.Avail, sp.Total)
			}
			c, name := int(l.m.objects.names[i][0]), l.m.objects.names[i][1:]
			if _, ok := l.m.object(c, name, at); !ok {
				continue
			}
			_, err = l.s.Update(f, func(tx *storage.Tx) error { return tx.Remove(storage.Coll(c), []byte(name)) })
			if errors.Is(err, storage.ErrTooLarge) {
				continue
			}
			if err != nil {
				return fmt.Errorf("removal of object %d/%s from a full store: %w", c, name, err)
			}
			removed++
		}
	})
	return removed, err
}
