package keys

import (
	"bytes"
	"testing"
)

func TestKeysAreInOrderAndDiffer(t *testing.T) {
	last := ""
	for i := range uint64(1000) {
		var key [Bytes]byte
		Name(key[:], i)
		if string(key[:]) <= last {
			t.Fatalf("key %d is not behind key %d", i, i-1)
		}
		last = string(key[:])
	}
}

// Two processes that ask for the same work must get the same.
func TestWorkRepeats(t *testing.T) {
	a, b, other := Rand(3), Rand(3), Rand(4)
	differ := false
	for range 100 {
		var x, y, z [Bytes]byte
		NamePut(x[:], a)
		NamePut(y[:], b)
		NamePut(z[:], other)
		if x != y {
			t.Fatalf("the same index put %x and %x", x, y)
		}
		differ = differ || x != z
	}
	if !differ {
		t.Fatal("two indexes put the same keys")
	}
	x, y := Randomize(make([]byte, GetValueBytes), 7), Randomize(Pattern(GetValueBytes), 7)
	if !bytes.Equal(x, y) || bytes.Equal(x, Randomize(Pattern(GetValueBytes), 8)) {
		t.Fatal("a value does not follow from its seed alone")
	}
}
