//go:build !planted_noflush

package storage

// No bug on purpose. With it: groups and superblocks count as durable without a flush.
const plantedNoFlush = false
