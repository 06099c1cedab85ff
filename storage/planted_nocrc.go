//go:build planted_nocrc

package storage

// A bug on purpose, to prove that the simulation still sees it: data blocks are handed out without a look at their crc.
const plantedNoCrc = true
