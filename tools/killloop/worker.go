package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
)

// A worker keeps about filesMax files; sizes reach over a stripe now and then.
const (
	filesMax     = 48
	usualBytes   = 64 << 10
	largeBytes   = 3 << 20
	fileBytesMax = 4 << 20
)

// entry is what must be under a name: a file's content or a symbolic link's target.
type entry struct {
	content []byte
	link    string
	mode    os.FileMode
}

// worker owns a directory and the model of it. Everything in it belongs to the worker's goroutine, and to the rounds'
// while the load is paused.
type worker struct {
	load   *load
	id     int
	dir    string
	acks   *os.File
	random *rand.Rand
	model  map[string]*entry // by name relative to dir; only present names
	serial int
}

func newWorker(l *load, id int, seed uint64, dir string, acks *os.File) (*worker, error) {
	for _, sub := range []string{"", "a", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	return &worker{load: l, id: id, dir: dir, acks: acks, random: rand.New(rand.NewPCG(seed, uint64(id)+1)), model: make(map[string]*entry)}, nil
}

func (w *worker) run() {
	for w.load.pass() {
		w.load.flying.Add(1)
		err := w.step()
		w.load.flying.Add(-1)
		w.load.done.Add(1)
		if err != nil {
			w.load.fail(fmt.Errorf("worker %d: %w", w.id, err))
			return
		}
	}
}

// step does one operation and tells the model.
func (w *worker) step() error {
	if len(w.model) == 0 {
		return w.create()
	}
	switch p := w.random.IntN(100); {
	case p < 25 && len(w.model) < filesMax:
		return w.create()
	case p < 45:
		return w.write(true)
	case p < 65:
		return w.write(false)
	case p < 73:
		return w.truncate()
	case p < 85:
		return w.rename()
	case p < 88:
		return w.symlink()
	case p < 93:
		return w.chmod()
	}
	return w.remove()
}

func (w *worker) path(name string) string { return filepath.Join(w.dir, name) }

func (w *worker) newName() string {
	w.serial++
	return filepath.Join([]string{"", "a", "b"}[w.random.IntN(3)], fmt.Sprintf("f%d", w.serial))
}

// pick chooses a present name; files only, if asked. Sorted, so that the seed decides.
func (w *worker) pick(onlyFiles bool) (string, *entry) {
	var names []string
	for name, e := range w.model {
		if !onlyFiles || e.link == "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	sort.Strings(names)
	name := names[w.random.IntN(len(names))]
	return name, w.model[name]
}

func (w *worker) bytes() []byte {
	n := w.random.IntN(usualBytes)
	switch w.random.IntN(20) {
	case 0:
		n = w.random.IntN(largeBytes)
	case 1, 2, 3, 4, 5:
		n = w.random.IntN(4097) // inline
	}
	data := make([]byte, n)
	var key [32]byte
	for i := range key {
		key[i] = byte(w.random.Uint32())
	}
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

func (w *worker) create() error {
	name, data := w.newName(), w.bytes()
	f, err := os.OpenFile(w.path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	w.model[name] = &entry{content: data, mode: 0o644}
	return w.finish(name, f, data, 0)
}

// write appends, or overwrites somewhere in the middle.
func (w *worker) write(atEnd bool) error {
	name, e := w.pick(true)
	if e == nil {
		return w.create()
	}
	data, off := w.bytes(), len(e.content)
	if !atEnd && off > 0 {
		off = w.random.IntN(off)
	}
	if off+len(data) > fileBytesMax {
		return w.truncate()
	}
	f, err := os.OpenFile(w.path(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if end := off + len(data); end > len(e.content) {
		e.content = append(e.content, make([]byte, end-len(e.content))...)
	}
	copy(e.content[off:], data)
	return w.finish(name, f, data, int64(off))
}

// finish writes, syncs half of the time, logs what was acknowledged, closes.
func (w *worker) finish(name string, f *os.File, data []byte, off int64) error {
	defer f.Close()
	if _, err := f.WriteAt(data, off); err != nil {
		return err
	}
	if w.random.IntN(2) == 0 {
		return nil
	}
	if err := f.Sync(); err != nil {
		return err
	}
	w.load.synced.Add(1)
	content := w.model[name].content
	_, err := fmt.Fprintf(w.acks, "w%d/%s %d %x\n", w.id, name, len(content), sha256.Sum256(content))
	return err
}

func (w *worker) truncate() error {
	name, e := w.pick(true)
	if e == nil {
		return w.create()
	}
	n := w.random.IntN(len(e.content) + usualBytes)
	if err := os.Truncate(w.path(name), int64(n)); err != nil {
		return err
	}
	if n > len(e.content) {
		e.content = append(e.content, make([]byte, n-len(e.content))...)
	}
	e.content = e.content[:n:n] // a later growth must not bring old bytes back
	return nil
}

// rename moves to a new name, or over an existing one.
func (w *worker) rename() error {
	from, e := w.pick(false)
	to := w.newName()
	if w.random.IntN(2) == 0 {
		to, _ = w.pick(false)
	}
	if from == to {
		return nil
	}
	if err := os.Rename(w.path(from), w.path(to)); err != nil {
		return err
	}
	delete(w.model, from)
	w.model[to] = e
	return nil
}

func (w *worker) symlink() error {
	name := w.newName()
	target := fmt.Sprintf("target-%d", w.serial)
	if err := os.Symlink(target, w.path(name)); err != nil {
		return err
	}
	w.model[name] = &entry{link: target}
	return nil
}

func (w *worker) chmod() error {
	name, e := w.pick(true)
	if e == nil {
		return nil
	}
	mode := []os.FileMode{0o600, 0o640, 0o755}[w.random.IntN(3)]
	if err := os.Chmod(w.path(name), mode); err != nil {
		return err
	}
	e.mode = mode
	return nil
}

func (w *worker) remove() error {
	name, _ := w.pick(false)
	if err := os.Remove(w.path(name)); err != nil {
		return err
	}
	delete(w.model, name)
	return nil
}
