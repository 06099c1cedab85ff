//go:build planted_reuse

package storage

// A bug on purpose, to prove that the simulation still sees it: a freed block is reusable at once, although the durable state may still need it.
const plantedReuse = true
