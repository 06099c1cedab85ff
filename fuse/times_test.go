package fuse

import (
	"math"
	"testing"
)

// Times go to the kernel and back unchanged, before 1970 too; what nanoseconds can't count stays on its side of 1970.
func TestTimes(t *testing.T) {
	for _, ns := range []int64{0, 1, -1, 1_700_000_000_123_456_789, -1_000_000_001, -2_000_000_000} {
		if got := nanos(instant(ns)); got != ns {
			t.Errorf("%d came back as %d", ns, got)
		}
	}
	year2300, year1600 := int64(10_413_792_000), int64(-11_676_096_000)
	for _, sec := range []int64{year2300, math.MaxInt64, year1600, math.MinInt64} {
		got := nanos(uint64(sec), 999_999_999)
		if got > 0 != (sec > 0) || got > -9_200_000_000_000_000_000 && got < 9_200_000_000_000_000_000 {
			t.Errorf("second %d became %d ns", sec, got)
		}
	}
}
