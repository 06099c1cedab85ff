package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"basalt/tools/daemon"
	"basalt/tools/outcome"
)

// SocketPathMax is the kernel's limit on the path of a Unix socket (sun_path without its final zero).
const SocketPathMax = 107

// Source gives the status of now; it is called from many goroutines.
type Source func() Status

// Server answers on the control socket.
type Server struct {
	path    string        // immutable
	lock    *daemon.Lock  // immutable
	http    *http.Server  // immutable
	stop    chan struct{} // closed once by the first order to stop
	once    sync.Once
	ended   chan struct{} // closed by Finish
	err     error         // written before ended is closed
	serving sync.WaitGroup
}

// CheckSocketPath refuses a path the kernel could not bind.
func CheckSocketPath(path string) error {
	if len(path) > SocketPathMax {
		return outcome.New(outcome.Usage, "the socket path %s has %d bytes and the kernel takes %d: choose a shorter or a relative one", path, len(path), SocketPathMax)
	}
	return nil
}

// ClaimSocket makes sure that a Unix socket can be bound at path: it takes the lock file beside it and removes a socket
// that a killed process left. The lock is kept as long as the socket is used.
func ClaimSocket(path string) (*daemon.Lock, error) {
	if err := CheckSocketPath(path); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, os.ErrNotExist) {
		return nil, outcome.New(outcome.Failed, "the directory of the socket %s is missing: make it (mkdir -p %s), or choose another path", path, filepath.Dir(path))
	}
	lock, err := daemon.Hold(path+".lock", "the socket "+path)
	if err != nil {
		return nil, err
	}
	if err := removeDeadSocket(path); err != nil {
		lock.Release()
		return nil, err
	}
	return lock, nil
}

func removeDeadSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the socket %s: %w", path, err)
	}
	if info.Mode()&os.ModeSocket == 0 {
		return outcome.New(outcome.InUse, "%s exists and is no socket: move it away, or use another path", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return outcome.New(outcome.InUse, "another process answers on the socket %s: stop it first, or use another path", path)
	}
	return os.Remove(path)
}

// Route is one more request that a process answers, in the patterns of http.ServeMux.
type Route struct {
	Pattern string
	Serve   http.HandlerFunc
}

// Listen opens the control socket.
func Listen(path string, source Source, routes ...Route) (*Server, error) {
	lock, err := ClaimSocket(path)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		lock.Release()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{path: path, lock: lock, stop: make(chan struct{}), ended: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, source()) })
	mux.HandleFunc("POST /stop", s.serveStop)
	mux.Handle("GET /metrics", promhttp.HandlerFor(Registry(source), promhttp.HandlerOpts{}))
	for _, r := range routes {
		mux.HandleFunc(r.Pattern, r.Serve)
	}
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	s.serving.Add(1)
	go func() {
		defer s.serving.Done()
		_ = s.http.Serve(listener) // ends with ErrServerClosed when Finish closes it
	}()
	return s, nil
}

func writeJSON(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	text, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(append(text, '\n')) // the caller may have gone
}

// Stop is closed when somebody has ordered the process to stop; nil, which is never ready, of a nil Server.
func (s *Server) Stop() <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.stop
}

func (s *Server) serveStop(w http.ResponseWriter, _ *http.Request) {
	s.once.Do(func() { close(s.stop) })
	<-s.ended
	if s.err != nil {
		http.Error(w, s.err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "stopped")
}

// Finish tells whoever ordered the stop how it ended, and closes the socket.
func (s *Server) Finish(err error) {
	if s == nil {
		return
	}
	s.err = err
	close(s.ended)
	answering, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.http.Shutdown(answering) != nil {
		s.http.Close() // somebody does not read the answer
	}
	s.serving.Wait()
	os.Remove(s.path)
	s.lock.Release()
}
