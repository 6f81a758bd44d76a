package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/httpserver"
)

const (
	// One of so many mutex contentions is sampled, and of blockings one for
	// each so many nanoseconds.
	mutexFraction = 100
	blockRate     = int(100 * time.Microsecond)
)

// serveProfiles serves Go's profiles at addr until ctx ends.
func serveProfiles(ctx context.Context, addr string, log *slog.Logger) error {
	runtime.SetMutexProfileFraction(mutexFraction)
	runtime.SetBlockProfileRate(blockRate)
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	l, err := listen(ctx, "pprof", addr)
	if err != nil {
		return err
	}
	log.Warn("Go profiles are served", "address", l.Addr().String())
	return httpserver.Serve(ctx, l, httpserver.New(mux, time.Minute, log), 0, log)
}
