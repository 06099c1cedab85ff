package format

import (
	"bytes"
	"testing"
)

// Keys of every length that differ first at every place, or nowhere.
func TestCommonPrefix(t *testing.T) {
	for la := range 40 {
		for lb := range 40 {
			for at := range min(la, lb) + 1 {
				a, b := bytes.Repeat([]byte{7}, la), bytes.Repeat([]byte{7}, lb)
				if at < min(la, lb) {
					b[at] = 0x87 // in one bit only
					if at+1 < lb {
						b[lb-1] = 0
					}
				}
				if got := CommonPrefix(a, b); got != at {
					t.Fatalf("%x and %x have %d bytes in common, want %d", a, b, got, at)
				}
			}
		}
	}
}
