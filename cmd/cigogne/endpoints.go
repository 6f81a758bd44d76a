package main

import (
	"net/http"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/throttle"
)

// kind is of requests that share bounds, so that what one of them is asked too
// much is not taken from another. gRPC and /v1/ have bounds of their own, in
// gateway/rpc. The table of them all is in gateway/DESIGN.md.
type kind string

const (
	images    kind = "images"    // DICOMweb, also by manifest
	manifests kind = "manifests" // what takes manifests
	desk      kind = "desk"      // what operators ask and do
	pages     kind = "pages"     // the page at /, and paths that are none
	probes    kind = "probes"    // readiness and metrics
	alive     kind = "alive"     // that the process is up
)

// bounds are the kinds with what they may cost.
func (l *limits) bounds() map[kind]throttle.Limits {
	return map[kind]throttle.Limits{
		// As many as connections: HTTP/1 never meets it, HTTP/2 is not more.
		images:    {Rate: l.WebRate, Most: l.MaxConnections, MostOfCaller: min(l.MaxConnections, l.MaxConnectionsPerHost)},
		manifests: {Rate: l.OperatorRate, Most: 16, MostOfCaller: 8},
		desk:      {Rate: l.OperatorRate, Most: 64, MostOfCaller: 32},
		pages:     {Rate: 2 * l.OperatorRate, Most: 128, MostOfCaller: 64},
		probes:    {Rate: l.OperatorRate, Most: 16, MostOfCaller: 8},
		alive:     {Rate: 10 * l.OperatorRate, Most: 64, MostOfCaller: 32},
	}
}

// newGates are what lets requests through within their bounds.
func (n *node) newGates() map[kind]*throttle.Gate {
	gates := map[kind]*throttle.Gate{}
	for k, l := range n.config.bounds() {
		gates[k] = throttle.NewGate(l, func(err error) { n.metrics.TurnedAway(string(k), err) })
	}
	return gates
}

// boundUploads lets so many requests that store go on at a time as there is
// room for, in all and for one host.
func (n *node) boundUploads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		done, err := n.uploads.Take(throttle.Caller(r.RemoteAddr))
		if err != nil {
			n.metrics.Refused("stow", gateway.RefusedUnavailable)
			n.metrics.TurnedAway("uploads", err)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "uploads: "+err.Error(), throttle.Status(err))
			return
		}
		defer done()
		next.ServeHTTP(w, r)
	})
}
