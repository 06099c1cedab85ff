package daemon

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"basalt/tools/outcome"
)

// The test binary is also the program that detaches: its child reports what the environment says, or dies.
func TestMain(m *testing.M) {
	ready, isChild := Child()
	if !isChild {
		os.Exit(m.Run())
	}
	switch os.Getenv("DAEMON_TEST") {
	case "done":
		ready.Done("here I am")
	case "fail":
		ready.Fail(outcome.New(outcome.InUse, "somebody else has it"))
	}
	os.Exit(9)
}

func detach(t *testing.T, role string) (string, error) {
	t.Helper()
	t.Setenv("DAEMON_TEST", role)
	var out bytes.Buffer
	err := Detach(filepath.Join(t.TempDir(), "logs", "x.log"), &out)
	return out.String(), err
}

func TestDetachReportsReadiness(t *testing.T) {
	if out, err := detach(t, "done"); err != nil || out != "here I am\n" {
		t.Errorf("%q, %v", out, err)
	}
	_, err := detach(t, "fail")
	if outcome.CodeOf(err) != outcome.InUse || err.Error() != "somebody else has it" {
		t.Errorf("the child's failure arrives as %v", err)
	}
	_, err = detach(t, "die")
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready") || !strings.Contains(err.Error(), "x.log") {
		t.Errorf("the child's death arrives as %v", err)
	}
}

func TestLockIsExclusiveAndNamesItsHolder(t *testing.T) {
	name := filepath.Join(t.TempDir(), "l")
	first, err := Hold(name, "the thing")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Hold(name, "the thing")
	if outcome.CodeOf(err) != outcome.InUse || !strings.Contains(err.Error(), "the thing is in use by process ") {
		t.Fatalf("a second holder gets %v", err)
	}
	first.Release()
	second, err := Hold(name, "the thing")
	if err != nil {
		t.Fatal(err)
	}
	second.Release()
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("the lock file is left behind: %v", err)
	}
}

// Who has opened the file before its holder removed it does not get the lock of a file that nobody else will find.
func TestLockOfARemovedFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "l")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !current(file, name) {
		t.Error("the file of that name is taken for another")
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if current(file, name) {
		t.Error("a removed file is taken for the one of that name")
	}
	lock, err := Hold(name, "the thing")
	if err != nil {
		t.Fatal(err)
	}
	if late, err := take(file, name, "the thing"); late != nil || err != nil {
		t.Errorf("who opened the file before it was removed gets %v, %v beside the holder of the new one", late, err)
	}
	if err := os.Rename(name, name+"-moved"); err != nil {
		t.Fatal(err)
	}
	second, err := Hold(name, "the thing")
	if err != nil {
		t.Fatal(err)
	}
	lock.Release()
	if !current(second.file, name) {
		t.Error("a lock that was given back has taken the file of another with it")
	}
	second.Release()
}

func TestNotify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	if err := Notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", name+"x")
	if Notify("READY=1") == nil {
		t.Error("a service manager that does not listen is not noticed")
	}
}
