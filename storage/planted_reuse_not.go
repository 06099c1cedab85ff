//go:build !planted_reuse

package storage

// No bug on purpose. With it: a freed block is reusable at once, although the durable state may still need it.
const plantedReuse = false
