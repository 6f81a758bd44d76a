package main

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/archives"
	"github.com/esante-alsace/cigogne/storage/archive/s3"
)

// archiveURLs are the archives that are configured, in order of preference.
func (s *stores) archiveURLs() ([]*url.URL, error) {
	if len(s.Archive) == 0 {
		return []*url.URL{{Scheme: "dir", Path: filepath.Join(s.DataDir, "archive")}}, nil
	}
	var all []*url.URL
	for _, text := range s.Archive {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%w: --archive: not a URL", errUsage) // it may hold a secret
		}
		switch {
		case u.Scheme == "dir" && u.Host == "" && u.Path != "" && u.RawQuery == "":
		case u.Scheme == "s3":
			if _, err := s3.ParseURL(u); err != nil {
				return nil, fmt.Errorf("%w: --archive %s: %w", errUsage, u.Redacted(), err)
			}
		default:
			return nil, fmt.Errorf("%w: --archive %q: write dir:///path or s3://bucket/prefix?endpoint=…", errUsage, u.Redacted())
		}
		all = append(all, u)
	}
	if s.ArchiveCopies < 0 || s.ArchiveCopies > len(all) {
		return nil, fmt.Errorf("%w: --archive-copies %d of %d archives", errUsage, s.ArchiveCopies, len(all))
	}
	return all, nil
}

// openArchives opens the archives; observe, unless nil, is told of each request
// to S3.
func (s *stores) openArchives(ctx context.Context, observe func(string, time.Duration, error)) (*archives.Archives, error) {
	urls, err := s.archiveURLs()
	if err != nil {
		return nil, err
	}
	return archives.Open(ctx, urls, archives.Options{Copies: s.ArchiveCopies, ReadBack: s.ArchiveConfirm == confirmRead, Observe: observe})
}
