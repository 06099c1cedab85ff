package main

import "testing"

func TestMemoryParent(t *testing.T) {
	delegating := func(dirs ...string) func(string) bool {
		return func(dir string) bool {
			for _, d := range dirs {
				if d == dir {
					return true
				}
			}
			return false
		}
	}
	for _, c := range []struct {
		name, text string
		delegates  func(string) bool
		dir        string
		unified    bool
	}{
		{"version 1", "5:devices:/\n4:memory:/a/b\n0::/\n", delegating(), "/sys/fs/cgroup/memory/a/b", false},
		{"version 1, several controllers", "4:cpu,memory:/a\n0::/x\n", delegating(), "/sys/fs/cgroup/memory/a", false},
		{"version 2, a sibling", "0::/user/session\n", delegating("/sys/fs/cgroup/user", "/sys/fs/cgroup"), "/sys/fs/cgroup/user", true},
		{"version 2, below the root", "0::/user/session\n", delegating("/sys/fs/cgroup"), "/sys/fs/cgroup", true},
	} {
		dir, unified, err := memoryParent(c.text, c.delegates)
		if err != nil || dir != c.dir || unified != c.unified {
			t.Errorf("%s: %q, %v, %v", c.name, dir, unified, err)
		}
	}
	for _, text := range []string{"", "0::/user/session\n", "5:devices:/\n"} {
		if dir, _, err := memoryParent(text, delegating()); err == nil {
			t.Errorf("%q: found %s", text, dir)
		}
	}
}
