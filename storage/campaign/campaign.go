// Package campaign loses power, and worse, under a store and checks what is left against a model. It is tests only;
// nothing imports it.
//
// A life is one world (engine/sim) with a disk, a reactor and a mounted store; a workload of random transactions runs in
// several fibers of it, every transaction goes to the model too, and what the store reports as committed is noted. A life
// ends with a power cut, a device error, or in peace. What the disk then holds goes into the next world, is checked, is
// mounted, and must be the model's state after some transaction R: not before the last that was reported committed, not
// after the last that was applied, and nothing half done. Every transaction writes its number under one key, so R is
// read, not guessed.
//
// The state is owned by the test that made it; lives of different seeds run in parallel and share nothing.
//
// Invariants: the store above sim is the production store; a seed decides everything; a failure prints the one line that
// runs it again (BASALT_SEED, BASALT_CUT).
//
// No locks. What it survives: nothing, and that is the point.
//
// The suite must be able to see: planted.sh builds the store with one planted bug at a time and expects it red.
//
// Read model.go first, then workload.go, life.go and the tests.
package campaign
