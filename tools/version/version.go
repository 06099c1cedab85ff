// Package version names the build: for `version`, logs, status and the hello of a session.
//
// It owns nothing but Number, which the linker may set (-X basalt/tools/version.Number=...).
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Number is the release.
var Number = "0.1.0"

// Long is the release with the commit, if the build knew it, and the toolchain.
func Long() string {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				commit = " (" + s.Value[:12] + ")"
			}
		}
	}
	return fmt.Sprintf("basalt %s%s %s %s/%s", Number, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
