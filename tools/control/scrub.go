package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"basalt/tools/outcome"
)

// Scrub is how far the scrub of one shard is, and what is known to be bad there.
type Scrub struct {
	Shard      string        `json:"shard"`
	Device     string        `json:"device"`
	Slice      int           `json:"slice"`
	Running    bool          `json:"running"`
	BytesDone  uint64        `json:"bytes_done"` // by this pass, or the last one
	BytesOf    uint64        `json:"bytes_of"`   // that were in use when it began
	Objects    uint64        `json:"objects"`
	Findings   uint64        `json:"findings"`
	Passes     uint64        `json:"passes"` // whole ones, since the node started
	Began      time.Time     `json:"began,omitzero"`
	Ended      time.Time     `json:"ended,omitzero"` // the last whole pass
	Quarantine []Quarantined `json:"quarantine"`
}

// Quarantined is something that cannot be read.
type Quarantined struct {
	What       string    `json:"what"`
	Collection uint16    `json:"collection,omitempty"`
	Object     []byte    `json:"object,omitempty"` // its name; none: it is no data block
	Block      uint64    `json:"block"`            // of the object
	Start      uint64    `json:"start"`            // on the device
	Blocks     uint32    `json:"blocks"`
	Found      time.Time `json:"found"`
	Reason     string    `json:"reason"`
}

// The orders that a node takes about its scrub.
const (
	ScrubStart  = "start"
	ScrubStop   = "stop"
	ScrubStatus = "status"
)

// ScrubRoutes answers for do, which obeys an order and tells how it stands then.
func ScrubRoutes(do func(order string) ([]Scrub, error)) []Route {
	route := func(method, order string) Route {
		return Route{method + " /scrub/" + order, func(w http.ResponseWriter, _ *http.Request) {
			shards, err := do(order)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			writeJSON(w, shards)
		}}
	}
	return []Route{route("POST", ScrubStart), route("POST", ScrubStop), route("GET", ScrubStatus)}
}

// OrderScrub gives an order to the node behind the control socket.
func OrderScrub(path, order string) ([]Scrub, error) {
	method := "POST"
	if order == ScrubStatus {
		method = "GET"
	}
	text, err := request(path, method, "/scrub/"+order, 10*time.Second)
	if err != nil && strings.Contains(err.Error(), "404 page not found") {
		return nil, outcome.New(outcome.Failed, "what answers on %s has no store to scrub: name the socket of a node", path)
	}
	if err != nil {
		return nil, err
	}
	var shards []Scrub
	if err := json.Unmarshal(text, &shards); err != nil {
		return nil, fmt.Errorf("what answers on %s is no node: %w", path, err)
	}
	return shards, nil
}
