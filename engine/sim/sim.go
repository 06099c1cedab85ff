// Package sim is a deterministic world for everything that runs on reactors: virtual time, a scheduler, disks and stream
// connections that fail, all from one seed. The code above the seam (engine and up) is the production code, unchanged;
// the package implements uring.Ring and engine.Clock.
//
// A World and all in it belong to the goroutine that runs it; several worlds may run in parallel. One reactor makes one
// turn at a time, picked by the seed. Time stands still while somebody has work, except for the little that code itself
// takes, and moves to the next event when all are idle; so a lease of thirty seconds costs nothing to wait for.
//
// Invariants:
//   - same seed, same code: same World.TraceHash. No address, map order, real time or goroutine enters the trace.
//   - an operation's memory is the device's from submission to completion. A write takes its bytes at one of the two,
//     by the seed; checked builds compare both and panic if they differ, and fill the memory of a read with a pattern
//     first. A completion never runs inside the submission.
//   - completions come in any order; of two operations in flight at once either may take effect first, and a read sees any
//     sectors of a write that has not completed.
//   - a write is visible to later reads when it completes and durable when a flush that began after that completes. So is a
//     discard: afterwards each page of it is what it was, zeros, or anything.
//
// No locks: one goroutine.
//
// What a disk can do (Fault, planned by FaultAt or by chance through Faults), and what is expected of the code above:
//
//	power cut        CutPowerAt, Fork, AfterPowerLoss: every write not covered by a completed flush is kept, lost or torn
//	                 at 512 bytes, each for itself, those in flight included; or as AfterPowerLossOf says. Nothing committed is lost.
//	read-error       EIO for this read; the next may work. An error to the caller, no state is lost.
//	write-error      EIO; each sector is old or new. The transaction fails or the store goes read-only.
//	flush-error      EIO; what it covered may read well but no later flush saves it. The store goes read-only.
//	flush-lie        success, and nothing has become durable. Nobody survives it: detection at mount is the most.
//	read-flip        one bit wrong in the memory of the reader, once. Checksums see it.
//	write-flip       one bit wrong on media. Checksums see it when it is read.
//	read-misdirect   the content of another place. Checksums and epochs see it.
//	write-misdirect  the data lands elsewhere; the place meant keeps its old content. Two findings.
//	write-lost       success, and nothing happened. The parent's checksum sees it.
//	slow             the operation takes SlowNs (50 ms); SlowRead slows reads only. No order may depend on it, no time-out above may corrupt.
//	short            a transfer ends early at a sector, as the kernel may. It is continued.
//	discard-error    EIO; each sector is discarded or not. Nobody needs what is there. A write-error of a discard is the same.
//	Damage           EIO for a place until it is rewritten (latent sector error).
//	Flip             rot: a bit of what is stored changes while nobody looks.
//	Shorten          the device is smaller than it says: reads there are short or empty, writes fail with ENOSPC.
//
// What a connection can do (Conn, NetFaults): delay, hiccups, any split of the stream into segments, partial sends and
// receives, a window that closes, multishot receives that end at any time, reset, a partition that heals or ends in a
// time-out, the death of the process at the other end.
//
// Not simulated: accept and connect (Pipe makes connections), files other than disks, commands of 128-byte entries, MSG_PEEK;
// whoever submits what is not simulated panics.
//
// What it survives: being dropped at any moment; Close ends the fibers and unmaps the arenas of the world's reactors, so
// thousands of worlds fit into one process.
//
// Read world.go first, then disk.go and power.go.
package sim
