// Package control is the local door of a running Basalt process: a Unix socket that tells its status, gives its
// metrics and takes the order to stop. It speaks HTTP, so curl can look in as well.
//
// It owns the socket, the lock file beside it, and the goroutines of its server; the state it shows is asked for
// through a function at each request. Invariants: whoever may open the socket file may stop the process, so the file
// has mode 0600; the answer to a stop is sent when everything has been shut down, not when it has been asked for.
// Read status.go first.
package control

import (
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"
)

// State of a process.
const (
	Serving    = "serving"
	Recovering = "recovering"           // waits for the mounts of its last life, at most one lease
	ReadOnly   = "read-only"            // a write or flush failed: what is committed stays readable
	Waiting    = "waiting for its node" // a mount whose connection is lost: it goes on when the node is back
	Stuck      = "not answering"        // a column did not answer within a second

	PartReadOnly = "partly read-only" // a device failed, and the shards on the others go on
)

// Status is what a process says of itself.
type Status struct {
	Role    string            `json:"role"` // "node" or "mount"
	Version string            `json:"version"`
	PID     int               `json:"pid"`
	State   string            `json:"state"`
	Since   time.Time         `json:"since"`
	About   map[string]string `json:"about"` // device, sockets, transports, directory
	Parts   []Part            `json:"parts"`
}

// Part is one component with its numbers; a name that ends in _total only grows.
type Part struct {
	Kind   string             `json:"kind"` // "shard", "link", "queue"
	ID     string             `json:"id"`
	Labels map[string]string  `json:"labels,omitempty"` // what it is; the same names for all of a kind
	Note   string             `json:"note,omitempty"`   // why it does not do all that it should
	Values map[string]float64 `json:"values"`
}

// Sum adds one value over all parts of a kind.
func (s Status) Sum(kind, name string) float64 {
	var sum float64
	for _, p := range s.Parts {
		if p.Kind == kind {
			sum += p.Values[name]
		}
	}
	return sum
}

// Print writes the status for people.
func (s Status) Print(out io.Writer) {
	fmt.Fprintf(out, "%s %s, process %d, %s since %s\n", s.Role, s.Version, s.PID, s.State, s.Since.Format(time.RFC3339))
	for _, key := range keysOf(s.About) {
		fmt.Fprintf(out, "  %-16s %s\n", key, s.About[key])
	}
	for _, p := range s.Parts {
		fmt.Fprintf(out, "%s %s", p.Kind, p.ID)
		for _, key := range keysOf(p.Labels) {
			fmt.Fprintf(out, ", %s %s", key, p.Labels[key])
		}
		fmt.Fprintln(out)
		if p.Note != "" {
			fmt.Fprintf(out, "  %s\n", p.Note)
		}
		for _, key := range keysOf(p.Values) {
			fmt.Fprintf(out, "  %-28s %s\n", strings.ReplaceAll(key, "_", " "), number(key, p.Values[key]))
		}
	}
}

func number(key string, v float64) string {
	plain := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.HasSuffix(key, "_bytes") || v < 1<<20 {
		return plain
	}
	return fmt.Sprintf("%s (%.1f MiB)", plain, v/(1<<20))
}

func keysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
