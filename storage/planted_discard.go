//go:build planted_discard

package storage

// A bug on purpose, to prove that the simulation still sees it: freed blocks are discarded before the superblock that releases them is durable.
const plantedDiscard = true
