package control

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"basalt/tools/outcome"
)

// endingEnv makes the test binary a process that answers a stop and then lives on until its standard input is closed.
const endingEnv = "BASALT_CONTROL_ENDING"

func TestMain(m *testing.M) {
	if path := os.Getenv(endingEnv); path != "" {
		os.Exit(endLate(path))
	}
	os.Exit(m.Run())
}

func endLate(path string) int {
	s, err := Listen(path, sample)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("listening")
	<-s.Stop()
	s.Finish(nil)
	if _, err := io.ReadAll(os.Stdin); err != nil {
		return 1
	}
	return 0
}

// An order returns when the process has ended, not when it has answered.
func TestOrderWaitsForTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), endingEnv+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // after what is looked at
	defer stdin.Close()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "listening\n" {
		t.Fatalf("%q, %v", line, err)
	}
	child, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	go func() {
		for _, err := os.Lstat(path); err == nil; _, err = os.Lstat(path) { // Finish removes it once it has answered
			runtime.Gosched()
		}
		stdin.Close()
	}()
	if err := Order(path, time.Minute); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, 0); n != 1 || err != nil {
		t.Errorf("the process still runs (%d, %v)", n, err)
	}
}

func sample() Status {
	return Status{
		Role: "node", Version: "v", PID: 7, State: Serving, Since: time.Unix(0, 0).UTC(),
		About: map[string]string{"device": "run/disk.img"},
		Parts: []Part{
			{Kind: "shard", ID: "0", Values: map[string]float64{"turns_total": 3, "arena_bytes": 2 << 20}},
			{Kind: "shard", ID: "1", Values: map[string]float64{"turns_total": 4}},
			{Kind: "disk", ID: "2", Labels: map[string]string{"slice": "5", "device": "a"}, Note: "it failed", Values: map[string]float64{"size": 9}},
		},
	}
}

func listen(t *testing.T) (*Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c")
	s, err := Listen(path, sample)
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

func TestStatusMetricsAndStop(t *testing.T) {
	s, path := listen(t)
	got, err := Ask(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Sum("shard", "turns_total") != 7 || got.About["device"] != "run/disk.img" {
		t.Fatalf("%+v", got)
	}
	var out bytes.Buffer
	got.Print(&out)
	for _, want := range []string{"node v, process 7, serving", "device", "shard 0\n", "(2.0 MiB)", "disk 2, device a, slice 5\n  it failed\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	text, err := Scrape(path)
	if err != nil || !strings.Contains(string(text), `basalt_shard_turns_total{id="1"} 4`) {
		t.Fatalf("%v in\n%s", err, text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v", info.Mode(), err)
	}
	if !strings.Contains(string(text), `basalt_disk_size{device="a",id="2",slice="5"} 9`) {
		t.Errorf("a part with labels is\n%s", text)
	}
	done := make(chan error, 1)
	go func() { done <- Order(path, 10*time.Second) }()
	<-s.Stop()
	s.Finish(nil)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(path); outcome.CodeOf(err) != outcome.Unreachable {
		t.Errorf("a stopped process answers %v", err)
	}
}

func TestStopReportsFailure(t *testing.T) {
	s, path := listen(t)
	done := make(chan error, 1)
	go func() { done <- Order(path, 10*time.Second) }()
	<-s.Stop()
	s.Finish(errors.New("the last flush failed"))
	if err := <-done; err == nil || err.Error() != "the last flush failed" {
		t.Fatalf("got %v", err)
	}
}

func TestSocketInUse(t *testing.T) {
	s, path := listen(t)
	if _, err := Listen(path, sample); outcome.CodeOf(err) != outcome.InUse {
		t.Errorf("the second listener gets %v", err)
	}
	s.Finish(nil)

	other := filepath.Join(t.TempDir(), "foreign")
	foreign, err := net.Listen("unix", other)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if _, err := ClaimSocket(other); outcome.CodeOf(err) != outcome.InUse {
		t.Errorf("a foreign listener is overrun: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ClaimSocket(file); outcome.CodeOf(err) != outcome.InUse {
		t.Errorf("a file is taken for a dead socket: %v", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Error("the file was overwritten")
	}
}

func TestDeadSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	s, err := Listen(path, sample)
	if err != nil {
		t.Fatal(err)
	}
	s.Finish(nil)
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", SocketPathMax+1)
	if _, err := ClaimSocket(long); outcome.CodeOf(err) != outcome.Usage {
		t.Errorf("a path too long for the kernel gives %v", err)
	}
	for _, addr := range []string{"0.0.0.0:0", "example.org:1", "127.0.0.1"} {
		if _, err := ServeMetrics(addr, sample); outcome.CodeOf(err) != outcome.Usage {
			t.Errorf("metrics on %s: %v", addr, err)
		}
	}
	m, err := ServeMetrics("127.0.0.1:0", sample)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := ServeMetrics(m.Addr, sample); outcome.CodeOf(err) != outcome.InUse {
		t.Errorf("a taken port gives %v", err)
	}
}

// A process that ends closes its socket under calls that wait to be accepted: whoever asked hears that it ended.
func TestSocketClosedUnderACall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = conn.Close() // without an answer
		}
		served <- errors.Join(err, listener.Close())
	}()
	if err := Order(path, time.Minute); outcome.CodeOf(err) != outcome.Unreachable {
		t.Errorf("%v has code %v", err, outcome.CodeOf(err))
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}
