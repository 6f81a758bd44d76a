package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// size is a number of bytes, written as "64MiB" or plainly.
type size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a number of bytes such as 64MiB", text)
	}
	*s = size(n)
	return nil
}

// logLevel is a slog.Level, written in small letters.
type logLevel slog.Level

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *logLevel) UnmarshalText(text []byte) error {
	if err := (*slog.Level)(l).UnmarshalText(text); err != nil {
		return fmt.Errorf("%q is none of debug, info, warn and error", text)
	}
	return nil
}

// listeners says where a node listens and whom it answers.
type listeners struct {
	AETitle  string   `default:"CIGOGNE" help:"Our AE title."`
	CalledAE []string `name:"called-ae" default:"ANY-SCP" help:"Other called AE titles that are answered to; '*' for any."`
	DIMSE    string   `name:"dimse" default:"127.0.0.1:11112" placeholder:"ADDR" help:"Where DIMSE listens (${default})."`
	HTTP     string   `name:"http" default:"127.0.0.1:8080" placeholder:"ADDR" help:"Where HTTP listens (${default})."`
	Open     bool     `help:"Listen beyond loopback without TLS and for unknown callers: it is meant."`
	Names    []string `name:"http-name" placeholder:"NAME" help:"Name by which HTTP is reached, such as a proxy's, beside addresses and names without a dot; repeatable. Without any, a node beyond loopback answers to all."`
	CORS     []string `name:"cors-origin" placeholder:"ORIGIN" help:"Web origin whose pages may read answers; '*' for any; repeatable."`
}

// limits bounds what a peer can cost.
type limits struct {
	MaxAssociations      int           `default:"100" help:"Most associations at a time (${default})."`
	MaxAssociationsPerAE int           `name:"max-associations-per-ae" default:"32" help:"Most associations of one calling AE at a time (${default})."`
	MaxMatches           int           `default:"10000" help:"Most answers to a C-FIND, after which it ends with A700 (${default})."`
	ARTIM                time.Duration `name:"artim" default:"10s" help:"How long an association may take to be requested or released (${default})."`
	Idle                 time.Duration `default:"60s" help:"How long an association or an HTTP connection may be idle (${default})."`
	Stall                time.Duration `default:"30s" help:"How long a transfer may stand still (${default})."`
	MaxPDU               size          `name:"max-pdu" default:"128KiB" help:"Longest PDU that is announced and taken (${default})."`
	MaxDataSet           size          `default:"64GiB" help:"Longest data set (${default})."`
	AsyncWindow          int           `default:"16" help:"Most C-STORE operations in flight on one association (${default})."`
	MaxRetrievals        int           `default:"16" help:"Most C-GET and C-MOVE operations that send at a time, three quarters of them to one host; others wait 30 s (${default})."`
	SuboperationTimeout  time.Duration `default:"60s" help:"How long a destination may take to answer each instance of a C-GET or C-MOVE (${default})."`
	MaxConnections       int           `default:"1280" help:"Most HTTP connections at a time; others wait (${default})."`
	// Behind a proxy all callers are one host.
	MaxConnectionsPerHost int           `default:"1024" help:"Most HTTP connections of one host at a time (${default})."`
	MaxUploads            int           `default:"96" help:"Most STOW-RS requests at a time (${default})."`
	MaxUploadsPerHost     int           `default:"64" help:"Most STOW-RS requests of one host at a time (${default})."`
	WebRate               int           `default:"50000" help:"Most DICOMweb requests a second of one host in the long run (${default})."`
	APIRate               int           `name:"api-rate" default:"500" help:"Most requests a second of one host to gRPC and /v1 in the long run (${default})."`
	OperatorRate          int           `default:"100" help:"Most requests a second of one host to what operators ask, and as many to metrics; to pages twice, to /healthz ten times as many (${default})."`
	Grace                 time.Duration `default:"20s" help:"How long transfers may take to finish when the node stops (${default})."`
}

// stores says where a node keeps what.
type stores struct {
	DataDir       string   `default:"./cigogne-data" placeholder:"DIR" type:"path" help:"Directory of journal, index and, unless --archive is given, archive (${default})."`
	Archive       []string `placeholder:"URL" sep:"none" help:"Archive, such as dir:///srv/archive or s3://bucket/prefix?endpoint=https://host; repeatable (DATA-DIR/archive)."`
	ArchiveCopies int      `placeholder:"N" help:"On how many archives a pack must lie before the journal gives its space back; 0 means all, at most 2."`
	// ArchiveConfirm is by what a copy counts as one.
	ArchiveConfirm string `enum:"checksum,read" default:"checksum" placeholder:"HOW" help:"When a pack is taken for stored: checksum, when the archive confirms that it has ours, or read, when it was read back as well (${default})."`
}

// capacities bound what a node's disk keeps.
type capacities struct {
	CacheMax   size  `default:"8GiB" help:"Most bytes of distant archives that are kept on the node's disk; 0 for none (${default})."`
	FeedEvents int64 `default:"250000" help:"How many events the feed of changes keeps (${default})."`
	JournalMax size  `default:"0" help:"Most bytes in the journal; 0 leaves it to the disk."`
}

// damage says what to do with a journal that is damaged.
type damage struct {
	AllowDamage bool `help:"Go on with what is left of a damaged journal, although instances that were acknowledged are missing."`
}

// confirmRead is the ArchiveConfirm that reads back.
const confirmRead = "read"

func (s *stores) journalDir() string { return filepath.Join(s.DataDir, "journal") }
func (s *stores) indexPath() string  { return filepath.Join(s.DataDir, "index", "index.db") }
func (s *stores) spoolDir() string   { return filepath.Join(s.DataDir, "spool") }
func (s *stores) scrubPath() string  { return filepath.Join(s.DataDir, "scrub.json") }

// segmentBytes is the length of the journal's segments, which are released as
// a whole: a small part of what the journal may take, where that is bounded.
func (c *capacities) segmentBytes() int64 {
	if c.JournalMax == 0 {
		return journal.DefaultSegmentBytes
	}
	return min(journal.DefaultSegmentBytes, max(int64(c.JournalMax)/8, 1<<20))
}

// check refuses what flags alone cannot refuse.
func (l *listeners) check() error {
	if n := len(strings.TrimSpace(l.AETitle)); n == 0 || n > 16 || strings.ContainsAny(l.AETitle, "\\\r\n\x00") {
		return fmt.Errorf("%w: --ae-title %q: 1 to 16 characters without backslash", errUsage, l.AETitle)
	}
	for _, a := range []struct{ flag, addr string }{{"dimse", l.DIMSE}, {"http", l.HTTP}} {
		host, _, err := net.SplitHostPort(a.addr)
		if err != nil {
			return fmt.Errorf("%w: --%s %q: write HOST:PORT", errUsage, a.flag, a.addr)
		}
		if !l.Open && !loopback(host) {
			return fmt.Errorf("%w: --%s %s listens beyond loopback without TLS and without known callers; add --open if that is meant", errUsage, a.flag, a.addr)
		}
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// listen takes the address that a flag names. One that another process has is
// storage.ErrUnavailable, one that cannot be had errUsage.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: --%s %s is in use: stop who listens there, perhaps another node, or choose another port", storage.ErrUnavailable, flag, addr)
	case err != nil:
		return nil, fmt.Errorf("%w: --%s: %w", errUsage, flag, err)
	}
	return l, nil
}

func (l *limits) check() error {
	for _, c := range []struct {
		flag string
		ok   bool
		want string
	}{
		{"max-associations", l.MaxAssociations >= 1, "at least 1"},
		{"max-associations-per-ae", l.MaxAssociationsPerAE >= 1, "at least 1"},
		{"max-matches", l.MaxMatches >= 1 && l.MaxMatches < 100_000, "1 to 99999"},
		{"artim", l.ARTIM > 0, "more than 0"},
		{"idle", l.Idle > 0, "more than 0"},
		{"stall", l.Stall > 0, "more than 0"},
		{"max-pdu", l.MaxPDU >= 4<<10 && l.MaxPDU <= 1<<20, "4KiB to 1MiB"},
		{"max-data-set", l.MaxDataSet >= 1<<20, "at least 1MiB"},
		{"max-retrievals", l.MaxRetrievals >= 1, "at least 1"},
		{"suboperation-timeout", l.SuboperationTimeout > 0, "more than 0"},
		{"async-window", l.AsyncWindow >= 1 && l.AsyncWindow <= 1024, "1 to 1024"},
		{"max-connections", l.MaxConnections >= 1, "at least 1"},
		{"max-connections-per-host", l.MaxConnectionsPerHost >= 1, "at least 1"},
		{"max-uploads", l.MaxUploads >= 1, "at least 1"},
		{"max-uploads-per-host", l.MaxUploadsPerHost >= 1, "at least 1"},
		{"web-rate", l.WebRate >= 1, "at least 1"},
		{"api-rate", l.APIRate >= 1, "at least 1"},
		{"operator-rate", l.OperatorRate >= 1, "at least 1"},
		{"grace", l.Grace >= 0, "0 or more"},
	} {
		if !c.ok {
			return fmt.Errorf("%w: --%s: %s", errUsage, c.flag, c.want)
		}
	}
	return nil
}

// logger writes structured lines at or above the level.
func logger(c console, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: level}))
}
