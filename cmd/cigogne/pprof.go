package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"
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
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("--pprof: %w", err)
	}
	log.Warn("Go profiles are served", "address", l.Addr().String())
	return serveHTTP(ctx, l, newHTTPServer(mux, time.Minute, log), 0, log)
}
