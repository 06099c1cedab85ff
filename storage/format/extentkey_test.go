package format

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// ExtentBlockOff takes just those keys that DecodeKey takes for extents, and finds the same block: whole keys, and what damage makes of them.
func TestExtentBlockOffAgreesWithDecodeKey(t *testing.T) {
	taken, refused := 0, 0
	check := func(key []byte) {
		k, err := DecodeKey(Place{}, key)
		want := err == nil && k.Kind == KindExtent
		off, ok := ExtentBlockOff(key)
		if ok != want || ok && off != k.BlockOff {
			t.Fatalf("%x: block %d %v, DecodeKey says %+v, %v", key, off, ok, k, err)
		}
		if ok {
			taken++
		} else {
			refused++
		}
	}
	for _, n := range []int{1, 2, 8, 9, 254, NameBytesMax} {
		name := bytes.Repeat([]byte{'n'}, n)
		keys := [][]byte{AppendExtentKey(nil, 7, name, 1<<40|5), AppendOnodeKey(nil, 7, name), AppendShareKey(nil, 7, 9), AppendUserKey(nil, 7, name)}
		for _, key := range keys {
			for cut := range len(key) + 1 {
				check(key[:cut])
			}
			check(binary.BigEndian.AppendUint64(bytes.Clone(key), 3))
			for i := range min(len(key), 8) {
				for _, x := range []byte{1, 2, 0xff} {
					hurt := bytes.Clone(key)
					hurt[i] ^= x
					check(hurt)
				}
			}
		}
	}
	if taken == 0 || refused == 0 {
		t.Fatalf("%d keys were taken, %d refused", taken, refused)
	}
}
