// Package invariant says whether costly assertions are compiled in.
//
// It owns no state. Enabled is a constant, so that `if invariant.Enabled { … }` costs nothing in a
// production build: the compiler drops it. It is true with the build tag checked and under the race
// detector. Cheap assertions do not ask: they are always on.
//
// Read enabled.go and disabled.go; there is nothing else.
package invariant
