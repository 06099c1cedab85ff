//go:build checked || race

package invariant

// Enabled: this build verifies what is too dear to verify always (stale turns, the calling thread,
// patterns in buffers that nobody owns).
const Enabled = true
