package fuse_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"basalt/engine"
	"basalt/fuse"
	"basalt/fuse/nullfs"
	"basalt/perf/fsload"
)

const loadEnv = "BASALT_FUSE_TEST_LOAD" // threads,files,bytes

func init() {
	children["load"] = func(dir string) error {
		var l fsload.Load
		if _, err := fmt.Sscanf(os.Getenv(loadEnv), "%d,%d,%d", &l.Threads, &l.Files, &l.Bytes); err != nil {
			return err
		}
		l.Root = dir
		rates, err := fsload.Run(fsload.Mounted{}, l)
		if err != nil {
			return err
		}
		fmt.Println(strings.Trim(fmt.Sprint(rates), "[]"))
		return nil
	}
}

// The small-file workload through a mount, with one column per CPU: the null file system, and a node in this process. The figures are
// operations per second of each phase; the profile (-cpuprofile) is the daemon's alone, because the load is another process.
func BenchmarkMount(b *testing.B) {
	for _, tr := range transports {
		b.Run("null-"+string(tr), func(b *testing.B) {
			null := nullfs.New(true, time.Hour)
			w := mountRaw(b, fuse.Options{Transport: tr, CacheSymlinks: true}, 2, func(int, *engine.Reactor) raw.RawFileSystem { return null })
			load(b, w.dir)
		})
		for _, columns := range []int{1, 2} { // with one, the shard serves both queues; with two, the second crosses to it
			b.Run(fmt.Sprintf("node%d-%s", columns, tr), func(b *testing.B) {
				load(b, newNode(b).mountOn("one", tr, columns).dir)
			})
		}
	}
}

func load(b *testing.B, dir string) {
	for _, threads := range []int{1, 8} {
		b.Run("T="+strconv.Itoa(threads), func(b *testing.B) {
			for b.Loop() {
				cmd := childCommand(b, "load", dir)
				cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d,%d,4096", loadEnv, threads, 16000/threads))
				out, err := cmd.CombinedOutput()
				if err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				for i, word := range strings.Fields(string(out)) {
					rate, err := strconv.ParseFloat(word, 64)
					if err != nil {
						b.Fatalf("%s", out)
					}
					b.ReportMetric(rate, fsload.Phases[i]+"/s")
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
