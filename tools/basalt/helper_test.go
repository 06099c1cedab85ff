package main

import (
	"reflect"
	"testing"
)

func TestHelperArgs(t *testing.T) {
	got, fake, err := helperArgs([]string{"run/node.sock", "/mnt/b", "-sv", "-o", "rw,ro,x-systemd.automount,fuse-transport=dev", "-t", "basalt"})
	want := []string{"mount", "--ro", "--fuse-transport=dev", "--node=run/node.sock", "/mnt/b"}
	if err != nil || fake || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v, %v", got, fake, err)
	}
	if _, fake, err := helperArgs([]string{"s", "d", "-f"}); err != nil || !fake {
		t.Errorf("-f: %v, %v", fake, err)
	}
	for _, bad := range [][]string{{"s"}, {"s", "d", "e"}, {"s", "d", "-o"}} {
		if _, _, err := helperArgs(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
