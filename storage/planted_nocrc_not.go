//go:build !planted_nocrc

package storage

// No bug on purpose. With it: data blocks are handed out without a look at their crc.
const plantedNoCrc = false
