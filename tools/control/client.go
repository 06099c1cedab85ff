package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

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

// Order stops the process and waits until it has shut down.
func Order(path string, patience time.Duration) error {
	_, err := request(path, "POST", "/stop", patience)
	return err
}

// Scrape fetches the metrics as text.
func Scrape(path string) ([]byte, error) { return request(path, "GET", "/metrics", 10*time.Second) }

func request(path, method, what string, patience time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://basalt"+what, nil)
	if err != nil {
		return nil, err
	}
	reply, err := transport.RoundTrip(req)
	if err != nil {
		return nil, explain(path, err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, answerBytesMax))
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", path, err)
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
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		// A call that was waiting to be accepted when the process, its work done, closed the socket.
		return outcome.New(outcome.Unreachable, "the process behind %s ended before it answered", path)
	case errors.Is(err, context.DeadlineExceeded):
		return outcome.New(outcome.Unreachable, "the process behind %s did not answer in time", path)
	}
	return fmt.Errorf("ask %s: %w", path, err)
}
