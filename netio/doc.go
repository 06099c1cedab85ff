// Package netio carries requests between client columns and shards: frames, connections, the server's front door, the client's link.
// It knows nothing of what a body says. docs/PROTOCOL.md (Frames) is the specification.
//
// Who owns what. A connection (Conn on the server, Link on the client) belongs to one reactor and is touched only on its thread; every
// method takes a *engine.Turn or *engine.Fiber. Only the front door (door.go) runs elsewhere, on gnet's loop: it owns a connection until a valid
// HELLO, then gives it away through the shard's inbox and keeps nothing.
//
// Invariants:
//   - a field of a frame is checked before it is used; memory for a body or payload is reserved before it is received;
//   - one receive and one send are in flight per connection; a buffer that an operation refers to is not touched until its completion;
//   - what a peer can make this side hold is bounded: unanswered requests and their bytes by credit, queued output by not serving
//     further, and both by the limits in limits.go;
//   - every Call ends exactly once: reply, error of the server, deadline, cancel, or the connection's end.
//
// No locks on the data path. The front door's table of waiting connections belongs to gnet's loop.
//
// It survives: peers that send garbage, stop in the middle of a frame, do not read, or vanish. It does not retry: a lost connection fails its
// calls, and the layers above decide what to ask again.
//
// Read header.go first, then stream.go (both ends share it), then conn.go and link.go.
package netio
