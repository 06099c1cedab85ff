package control

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"basalt/tools/outcome"
)

// collector turns a status into metrics: part kind and value name make the metric, the part's ID is its label.
type collector struct{ source Source }

// Registry offers the numbers of source to Prometheus.
func Registry(source Source) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector{source})
	return reg
}

// Describe sends nothing: the metrics depend on what the process has, so the collector is an unchecked one.
func (c collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(out chan<- prometheus.Metric) {
	status := c.source()
	up := prometheus.NewDesc("basalt_up", "1 while the process serves.", []string{"role", "state"}, nil)
	serving := 0.0
	if status.State == Serving {
		serving = 1
	}
	out <- prometheus.MustNewConstMetric(up, prometheus.GaugeValue, serving, status.Role, status.State)
	for _, part := range status.Parts {
		labels, values := []string{"id"}, []string{part.ID}
		for _, name := range keysOf(part.Labels) {
			labels, values = append(labels, name), append(values, part.Labels[name])
		}
		for _, name := range keysOf(part.Values) {
			kind := prometheus.GaugeValue
			if strings.HasSuffix(name, "_total") {
				kind = prometheus.CounterValue
			}
			desc := prometheus.NewDesc("basalt_"+part.Kind+"_"+name, strings.ReplaceAll(part.Kind+" "+name, "_", " "), labels, nil)
			out <- prometheus.MustNewConstMetric(desc, kind, part.Values[name], values...)
		}
	}
}

// Metrics is an HTTP server for Prometheus on a loopback address.
type Metrics struct {
	http *http.Server
	Addr string // with the port that was chosen, if it was 0
}

// ServeMetrics listens on addr; only loopback is allowed, because nobody is asked who he is.
func ServeMetrics(addr string, source Source) (*Metrics, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, outcome.New(outcome.Usage, "metrics address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, outcome.New(outcome.Usage, "metrics address %q is not loopback: use 127.0.0.1 and let a proxy that authenticates carry it further", addr)
	}
	listener, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, outcome.New(outcome.InUse, "metrics: %w: choose another port, or stop who has it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(Registry(source), promhttp.HandlerOpts{}))
	m := &Metrics{http: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, Addr: fmt.Sprint(listener.Addr())}
	go func() { _ = m.http.Serve(listener) }() // ends when Close closes it
	return m, nil
}

// Close stops the server.
func (m *Metrics) Close() {
	if m != nil {
		m.http.Close()
	}
}
