// Package httpserver is what a node does with every request of HTTP, whatever is
// asked: it gives it an id, bounds how long it may take, and lets it finish when
// the node stops. Connections are bounded by package listener.
package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// maxHeaderBytes bounds a request's header.
	maxHeaderBytes = 64 << 10
	// headerTimeout bounds how long a request's header may take to come.
	headerTimeout = 10 * time.Second
)

// New returns a server of h, whose connections may be idle for so long.
func New(h http.Handler, idle time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Serve answers requests until ctx ends, then lets those under way finish
// within grace.
func Serve(ctx context.Context, l net.Listener, server *http.Server, grace time.Duration, log *slog.Logger) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(bounded)
	if err != nil {
		log.Warn("HTTP transfers were cut at the end of the grace time", "error", err)
		server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
