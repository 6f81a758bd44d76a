package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage/pack"
)

type serveCommand struct {
	listeners
	limits
	stores
	capacities
	clustering
	damage
	senders
	deletion
	publishing
	committing
	diagnostics
	following
	scrubbing
	Settle          time.Duration    `default:"30s" help:"How long a series must be quiet before it is packed; what fills a pack waits a quarter of that (${default})."`
	PackCompression pack.Compression `enum:"none,deflate,zstd" default:"none" help:"How native pixel data is compressed in packs that are written from now on: none, deflate or zstd (${default})."`
	LogLevel        logLevel         `default:"info" placeholder:"LEVEL" help:"Least level that is logged: debug, info, warn, error (${default})."`
}

// scrubbing says how the packs in the archives are verified in the background.
type scrubbing struct {
	ScrubRate  size          `default:"8MiB" placeholder:"BYTES" help:"Most bytes of packs that are verified a second in the background; 0 for no such work (${default})."`
	ScrubEvery time.Duration `default:"720h" help:"Least time between the beginnings of two rounds over all packs (${default})."`
}

// diagnostics are for those who measure the node.
type diagnostics struct {
	Pprof         string `placeholder:"ADDR" help:"Loopback address where Go profiles are served; none by default."`
	UnsafeNoFsync bool   `help:"Acknowledge without fsync: for benchmarks only, a power cut loses instances."`
}

// Validate implements kong's validation hook.
func (s *serveCommand) Validate() error {
	if s.ScrubEvery < 0 {
		return fmt.Errorf("%w: --scrub-every %s: 0 or more", errUsage, s.ScrubEvery)
	}
	if s.Settle < 0 {
		return fmt.Errorf("%w: --settle %s: 0 or more", errUsage, s.Settle)
	}
	if err := s.listeners.check(); err != nil {
		return err
	}
	if err := errors.Join(s.limits.check(), s.deletion.check(), s.publishing.check(), s.committing.check(), s.clustering.check(), s.following.check()); err != nil {
		return err
	}
	if host, _, err := net.SplitHostPort(s.Pprof); s.Pprof != "" && (err != nil || !loopback(host)) {
		return fmt.Errorf("%w: --pprof %q: write a loopback HOST:PORT", errUsage, s.Pprof)
	}
	_, err := s.archiveURLs()
	return err
}

// Run runs a node until ctx ends.
func (s *serveCommand) Run(ctx context.Context, c console) error {
	log := logger(c, slog.Level(s.LogLevel))
	var greeted bool
	for {
		err := s.runOnce(ctx, c, log, &greeted)
		if !errors.Is(err, errRetired) || ctx.Err() != nil {
			return err
		}
		log.Warn("the node begins anew", "error", err)
	}
}

// runOnce runs a node until ctx ends, or its journal is retired: errRetired.
func (s *serveCommand) runOnce(ctx context.Context, c console, log *slog.Logger, greeted *bool) error {
	n, err := openNode(ctx, s, log)
	if err != nil {
		return err
	}
	defer n.close()
	if !*greeted {
		s.greet(c, n.dimse.Addr(), n.http.Addr(), n.archives.String())
		*greeted = true
	}
	// Should it begin anew, it is found where it was.
	s.DIMSE, s.HTTP = n.dimse.Addr().String(), n.http.Addr().String()
	return n.serve(ctx)
}

// greet says where the node listens and what to try first.
func (s *serveCommand) greet(c console, dimse, http net.Addr, archive string) {
	host, port, _ := net.SplitHostPort(dimse.String()) // the address of a listener parses
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	web := "http://" + http.String()
	if h, p, err := net.SplitHostPort(http.String()); err == nil && net.ParseIP(h).IsUnspecified() {
		web = "http://localhost:" + p
	}
	fmt.Fprintf(c.out, strings.TrimLeft(`
Cigogne %s
  DIMSE    %s, AE title %s
  HTTP     %s/dicom-web
  API      %s/api, gRPC on the same port
  data     %s
  archive  %s

Push     storescu -aec %s %s %s image.dcm
Query    curl '%s/dicom-web/studies?PatientName=*'
Look     %s/
`, "\n"), version(), dimse, s.AETitle, web, web, s.DataDir, archive, s.AETitle, host, port, web, web)
}
