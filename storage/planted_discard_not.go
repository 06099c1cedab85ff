//go:build !planted_discard

package storage

// No bug on purpose. With it: freed blocks are discarded before the superblock that releases them is durable.
const plantedDiscard = false
