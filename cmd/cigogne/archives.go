package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/cache"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
	"github.com/esante-alsace/cigogne/storage/archive/s3"
	"github.com/esante-alsace/cigogne/storage/archive/set"
)

// archives are the archives of a node: each by itself, and all as one.
type archives struct {
	archive.Archive
	each []archive.Archive
	// read is what retrievals read from: all as one, with what is far away
	// kept on the node's disk.
	read archive.Archive
	far  bool // not all archives are folders
	// suspects takes the keys of objects that were found damaged while they
	// were read; those beyond its capacity are found by the next round.
	suspects chan string
}

// suspect is the set's Damaged hook, and of those who read packs.
func (a *archives) suspect(key, _ string, _ error) {
	a.forget(key)
	select {
	case a.suspects <- key:
	default:
	}
}

// forget drops what the node's disk keeps of an object, which may be damaged.
func (a *archives) forget(key string) {
	if c, ok := a.read.(*cache.Cache); ok {
		c.Drop(key)
	}
}

// health is how the archives fared when they were last asked, by name; failing
// is why nothing reaches the only one, or nil.
func (a *archives) health(failing error) map[string]error {
	several, ok := a.Archive.(*set.Set)
	if !ok {
		return map[string]error{a.String(): failing}
	}
	all := map[string]error{}
	for _, h := range several.Health() {
		if all[h.Archive] = nil; h.Failures > 0 {
			all[h.Archive] = h.Err
		}
	}
	return all
}

// Close gives back what the archives hold.
func (a *archives) Close() {
	for _, one := range append([]archive.Archive{a.read}, a.each...) {
		if c, ok := one.(io.Closer); ok {
			c.Close()
		}
	}
}

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

// openArchives opens the archives. One that is far away is not asked yet.
func (s *stores) openArchives(ctx context.Context, more ...func(*s3.Options)) (*archives, error) {
	urls, err := s.archiveURLs()
	if err != nil {
		return nil, err
	}
	a := &archives{suspects: make(chan string, 64)}
	for _, u := range urls {
		one, err := s.openArchive(ctx, u, more)
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("archive %s: %w", u.Redacted(), err)
		}
		a.each = append(a.each, one)
	}
	if a.Archive = a.each[0]; len(a.each) > 1 {
		if a.Archive, err = set.New(a.each, set.Options{Copies: s.ArchiveCopies, Damaged: a.suspect, Repaired: a.forget}); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

// openCache puts a cache of most bytes on the node's disk in front of what is read, unless
// all archives are folders, whose files the kernel can send itself.
func (s *stores) openCache(a *archives, most size) (err error) {
	a.far = slices.ContainsFunc(a.each, func(one archive.Archive) bool { _, near := one.(*dir.Archive); return !near })
	if a.read = a.Archive; a.far && most > 0 {
		a.read, err = cache.Open(filepath.Join(s.DataDir, "cache"), a.Archive, cache.Options{MaxBytes: int64(most)})
	}
	return err
}

func (s *stores) openArchive(ctx context.Context, u *url.URL, more []func(*s3.Options)) (archive.Archive, error) {
	readBack := s.ArchiveConfirm == confirmRead
	if u.Scheme == "s3" {
		return s3.Open(ctx, u, append(more, func(o *s3.Options) { o.ReadBack = o.ReadBack || readBack })...)
	}
	return dir.Open(u.Path, func(o *dir.Options) { o.ReadBack = readBack })
}
