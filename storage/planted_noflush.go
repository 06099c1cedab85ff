//go:build planted_noflush

package storage

// A bug on purpose, to prove that the simulation still sees it: groups and superblocks count as durable without a flush.
const plantedNoFlush = true
