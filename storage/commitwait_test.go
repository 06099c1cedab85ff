package storage

import (
	"errors"
	"testing"

	"basalt/engine"
)

// Who waits for a commit sleeps until its own group is durable: the groups before it do not wake it. When the store fails all are woken.
func TestACommitWakesOnlyThoseOfItsGroup(t *testing.T) {
	b := grown(t, 261, 3)
	var seqs [6]Seq
	ended, slept := 0, 0
	b.do(func(f *engine.Fiber) error {
		b.s.OnCommitted(func(_ *engine.Turn, committed Seq) {
			for _, seq := range seqs {
				if seq <= committed {
					continue
				}
				if b.s.groupOf(seq).awaited.Len() == 0 {
					t.Errorf("transaction %d: nobody waits for it any more when %d is committed", seq, committed)
				}
				slept++
			}
		})
		defer b.s.OnCommitted(nil)
		for i := range seqs {
			seq, err := b.s.Update(f, func(tx *Tx) error { return tx.Put(1, []byte{byte(i)}, []byte("in flight")) })
			if err != nil {
				return err
			}
			seqs[i] = seq
			if err := f.Turn().Go("waits", func(w *engine.Fiber) {
				if err := b.s.Commit(w, seq); err != nil || b.s.Committed() < seq {
					t.Errorf("transaction %d: %v with %d committed", seq, err, b.s.Committed())
				}
				ended++
			}); err != nil {
				return err
			}
			f.Yield()
		}
		return b.s.Commit(f, seqs[len(seqs)-1])
	})
	if err := b.w.Run(func() bool { return ended == len(seqs) }); err != nil {
		t.Fatal(err)
	}
	if slept == 0 {
		t.Fatal("no group was committed while somebody waited for another one")
	}

	failed := 0
	b.do(func(f *engine.Fiber) error {
		for i := range 4 {
			seq, err := b.s.Update(f, func(tx *Tx) error { return tx.Put(1, []byte{byte(i)}, []byte("lost")) })
			if err != nil {
				return err
			}
			if err := f.Turn().Go("waits", func(w *engine.Fiber) {
				if err := b.s.Commit(w, seq); !errors.As(err, new(*FailedError)) {
					t.Errorf("transaction %d of a store that failed: %v", seq, err)
				}
				failed++
			}); err != nil {
				return err
			}
			f.Yield()
		}
		b.s.fail(f.Turn(), errors.New("somebody has pulled it out"))
		return nil
	})
	if err := b.w.Run(func() bool { return failed == 4 }); err != nil {
		t.Fatal(err)
	}
}
