package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"basalt/tools/daemon"
	"basalt/tools/outcome"
)

// answerBytesMax bounds what a process may tell about itself.
const answerBytesMax = 8 << 20

// Ask fetches the status of the process behind the control socket.
func Ask(path string) (Status, error) {
	var status Status
	text, err := request(path, "GET", "/status", 10*time.Second)
	if err != nil {
		return status, err
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return status, fmt.Errorf("what answers on %s is no Basalt process: %w", path, err)
	}
	return status, nil
}

// Order stops the process and waits until it has ended, so that whatever it held is free; patience 0 has no limit.
func Order(path string, patience time.Duration) error {
	ctx, cancel := limited(patience)
	defer cancel()
	var peer *daemon.Process
	defer func() { peer.Close() }()
	_, err := exchange(ctx, path, "POST", "/stop", func(conn *net.UnixConn) (err error) {
		peer, err = daemon.Peer(conn)
		return err
	})
	if peer == nil || outcome.CodeOf(err) == outcome.Unreachable {
		return err // it is the peer only if it has answered
	}
	return errors.Join(err, peer.Wait(ctx))
}

// Scrape fetches the metrics as text.
func Scrape(path string) ([]byte, error) { return request(path, "GET", "/metrics", 10*time.Second) }

func limited(patience time.Duration) (context.Context, context.CancelFunc) {
	if patience == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), patience)
}

func request(path, method, what string, patience time.Duration) ([]byte, error) {
	ctx, cancel := limited(patience)
	defer cancel()
	return exchange(ctx, path, method, what, func(*net.UnixConn) error { return nil })
}

// exchange asks once, on a connection of its own; connected sees it before anything is asked. It is not http.Transport, whose
// error for a connection that was closed meanwhile can't be told from others.
func exchange(ctx context.Context, path, method, what string, connected func(*net.UnixConn) error) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://basalt"+what, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, explain(path, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // long past: what waits, returns
	if err := connected(conn.(*net.UnixConn)); err != nil {
		return nil, err
	}
	if err := req.Write(conn); err != nil {
		return nil, explain(path, err)
	}
	reply, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, explain(path, err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, answerBytesMax))
	if err != nil {
		return nil, explain(path, err)
	}
	if reply.StatusCode != http.StatusOK {
		return nil, outcome.New(outcome.Failed, "%s", strings.TrimSpace(string(text)))
	}
	return text, nil
}

func explain(path string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTSOCK):
		return outcome.New(outcome.Unreachable, "nothing answers on %s: is the process running, and is that its control socket?", path)
	case errors.Is(err, syscall.EACCES):
		return outcome.New(outcome.Unreachable, "no permission to open %s: only the user who started the process may", path)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		// A call that was waiting to be accepted when the process, its work done, closed the socket.
		return outcome.New(outcome.Unreachable, "the process behind %s ended before it answered", path)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return outcome.New(outcome.Unreachable, "the process behind %s did not answer in time", path)
	}
	return fmt.Errorf("ask %s: %w", path, err)
}
