package meta

import (
	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

// Decisions that change the store, and those that only look. What is in neither table is in do.
var (
	updates = [record.Ops]func(*operation) error{
		record.OpSetAttr: (*operation).setattr, record.OpCreate: (*operation).create, record.OpMknod: (*operation).mknod,
		record.OpMkdir: (*operation).mkdir, record.OpSymlink: (*operation).symlink, record.OpLink: (*operation).link,
		record.OpUnlink: (*operation).unlink, record.OpRmdir: (*operation).rmdir, record.OpRename: (*operation).rename,
		record.OpWrite: (*operation).write, record.OpSetXattr: (*operation).setxattr,
		record.OpRemoveXattr: (*operation).removexattr, record.OpFallocate: (*operation).fallocate,
	}
	views = [record.Ops]func(*operation) error{
		record.OpLookup: (*operation).lookup, record.OpGetAttr: (*operation).getattr, record.OpReadlink: (*operation).readlink,
		record.OpGetXattr: (*operation).getxattr, record.OpListXattr: (*operation).listxattr,
	}
)

// Do serves one request of a session in this process. data is what a write carries and is borrowed; dst takes a read's bytes, p.Count of them,
// best in arena memory; p.Value is appended to what p.Value[:0] has room for. It answers when the request is applied; Fsync and SyncAll when it is
// committed.
func (s *Shard) Do(f *engine.Fiber, sess *Session, q *record.Request, data []byte, p *record.Reply, dst []byte) {
	s.wait(f, q)
	s.do(f, sess, 0, q, data, p, dst)
}

// do serves a request and returns the number of its transaction, 0 if it made none.
func (s *Shard) do(f *engine.Fiber, sess *Session, reqid uint64, q *record.Request, data []byte, p *record.Reply, dst []byte) uint64 {
	o := s.take()
	o.sess, o.reqid, o.q, o.p, o.data, o.dst = sess, reqid, q, p, data, dst
	seq, err := s.perform(f, o)
	if err == errAnswered {
		seq, err = s.answered(o), nil
	}
	s.give(o)
	if err != nil {
		*p = record.Reply{Status: statusOf(err), Value: p.Value[:0]}
	}
	if q.Op.Valid() {
		s.stats.Ops[q.Op]++
	}
	s.stats.Failed[p.Status]++
	return uint64(seq)
}

// answered is the end of a request that was answered before. Its transaction may not be committed yet: every one that was applied by now will
// do as its number, because they commit in order.
func (s *Shard) answered(o *operation) storage.Seq {
	s.stats.Repeated++
	if o.q.Op == record.OpCreate && o.q.Flags&record.FlagNoOpen == 0 && o.p.Status == record.OK {
		o.countOpen(o.p.Attr.Ino)
	}
	return s.store.Applied()
}

// perform runs one operation.
func (s *Shard) perform(f *engine.Fiber, o *operation) (storage.Seq, error) {
	q := o.q
	if !q.Op.Valid() {
		return 0, record.NotSupported
	}
	if o.sess.ended {
		return 0, record.Stale
	}
	*o.p = record.Reply{Value: o.p.Value[:0]}
	if o.nowNs = q.NowNs; o.nowNs == 0 {
		o.nowNs = f.Turn().Wall()
	}
	if q.WantIno != 0 && !o.replay {
		return 0, record.Invalid
	}
	if o.decide = updates[q.Op]; o.decide != nil {
		return o.update(f)
	}
	if o.decide = views[q.Op]; o.decide != nil {
		return 0, o.view(f)
	}
	return s.special(f, o)
}

// special serves what is neither one update nor one view.
func (s *Shard) special(f *engine.Fiber, o *operation) (storage.Seq, error) {
	q := o.q
	switch q.Op {
	case record.OpOpen, record.OpOpenDir:
		return s.openOne(f, o)
	case record.OpRelease:
		s.release(f.Turn(), o.sess, o.reqid, q.Ino, q.Count)
		return 0, nil
	case record.OpReleaseDir:
		if h := s.handle(o.sess.mount, q.Handle, q.Ino); h != nil {
			s.closeHandle(f.Turn(), h)
		}
		s.release(f.Turn(), o.sess, o.reqid, q.Ino, 1)
		return 0, nil
	case record.OpRead:
		o.decide = (*operation).readInode
		return 0, o.readData(f)
	case record.OpLseek:
		o.decide = (*operation).seekInode
		return 0, o.seek(f)
	case record.OpReadDir:
		return 0, s.readdir(f, o)
	case record.OpFsync, record.OpSyncAll:
		return 0, s.store.Commit(f, s.store.Applied())
	case record.OpStatFs:
		return 0, s.statfs(o)
	case record.OpLeave:
		s.end(f, o.sess)
		return 0, nil
	}
	return 0, record.NotSupported
}

// openOne counts an open; with flags that change the file it is a transaction.
func (s *Shard) openOne(f *engine.Fiber, o *operation) (seq storage.Seq, err error) {
	q := o.q
	if q.Flags&record.FlagReassert != 0 {
		return 0, s.reassert(f, o)
	}
	o.decide = (*operation).openInode
	if q.Mutates() {
		if seq, err = o.update(f); err == errAnswered {
			o.countOpen(q.Ino)
		}
	} else {
		err = o.view(f)
	}
	if err == nil && q.Op == record.OpOpenDir {
		o.p.Handle = s.openHandle(o.sess.mount, q.Ino)
	}
	return seq, err
}

// filesPerBlock: an inode and its name take about this much of a block, for the estimate of how many more there may be.
const filesPerBlock = 8

func (s *Shard) statfs(o *operation) error {
	sp := s.store.Space()
	st := record.StatFs{BlockSize: uint32(sp.BlockBytes), NameMax: record.NameMax, Blocks: sp.Total, Free: sp.Free, Avail: sp.Avail,
		Files: sp.Total * filesPerBlock, FilesFree: sp.Avail * filesPerBlock}
	o.p.Value = st.Append(o.p.Value)
	return nil
}
