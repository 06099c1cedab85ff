package fio

import (
	"strings"
	"testing"
)

func TestParseReadsOneJob(t *testing.T) {
	f, err := parse([]byte(`{"jobs":[{"error":0,"read":{"iops":1000.5,"bw_bytes":4098048},"write":{"iops":0,"bw_bytes":0}}]}`))
	if err != nil || f.IOPS != 1000.5 || f.Bytes != 4098048 {
		t.Fatalf("%v %v", f, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                       "fio's report",
		`{"jobs":[]}`:             "0 jobs",
		`{"jobs":[{"error":28}]}`: "error 28",
	} {
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestArgsCarryTheJob(t *testing.T) {
	got := strings.Join(Job{File: "f", RW: "randread", Block: 4096, Depth: 64, Size: 1 << 30, Seconds: 1.5, Fixed: true}.args(), " ")
	for _, want := range []string{"--direct=1", "--rw=randread", "--bs=4096", "--iodepth=64", "--size=1073741824", "--runtime=1500ms", "--fixedbufs=1"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s misses %s", got, want)
		}
	}
}
