package main

import (
	"testing"
	"time"
)

func TestIOCount(t *testing.T) {
	const text = "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 7\n"
	if n, err := ioCount(text, "write_bytes"); err != nil || n != 8192 {
		t.Fatal(n, err)
	}
	if _, err := ioCount("rchar: 1\n", "write_bytes"); err == nil {
		t.Fatal("a count that is not there was found")
	}
}

func TestQuantiles(t *testing.T) {
	var d []time.Duration
	for i := range 10_000 {
		d = append(d, time.Duration((i*7919)%10_000))
	}
	if median, p999 := quantiles(d); median != 5000 || p999 != 9990 {
		t.Fatal(median, p999)
	}
}

func TestTimes(t *testing.T) {
	stop, n := times(3), 0
	for !stop() {
		n++
	}
	if n != 3 {
		t.Fatal(n)
	}
}
