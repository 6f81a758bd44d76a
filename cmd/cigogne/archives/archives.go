// Package archives opens the archives of a node: each by itself, and all as one.
package archives

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/cache"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
	"github.com/esante-alsace/cigogne/storage/archive/paced"
	"github.com/esante-alsace/cigogne/storage/archive/s3"
	"github.com/esante-alsace/cigogne/storage/archive/set"
)

// Archives are the archives of a node: each by itself, and all as one.
type Archives struct {
	archive.Archive
	Each []archive.Archive
	// Read is what retrievals read from, once CacheIn was called: all as one,
	// with what is far away kept on the node's disk.
	Read archive.Archive
	Far  bool // not all archives are folders

	suspects chan string
}

// Options say how archives are used.
type Options struct {
	// Copies is on how many a pack must lie; 0 means all, at most 2.
	Copies int
	// ReadBack: a copy counts when it was read back.
	ReadBack bool
	// Observe, when set, is told of each request to S3.
	Observe func(operation string, took time.Duration, err error)
}

// Open opens the archives, in order of preference. One that is far away is not
// asked yet.
func Open(ctx context.Context, urls []*url.URL, o Options) (*Archives, error) {
	a := &Archives{suspects: make(chan string, 64)}
	for _, u := range urls {
		one, err := open(ctx, u, o)
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("archive %s: %w", u.Redacted(), err)
		}
		a.Each = append(a.Each, one)
	}
	if a.Archive = a.Each[0]; len(a.Each) > 1 {
		var err error
		if a.Archive, err = set.New(a.Each, set.Options{
			Copies: o.Copies, Damaged: func(key, _ string, _ error) { a.Suspect(key) }, Repaired: func(key string) { a.Forget(key) },
		}); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

func open(ctx context.Context, u *url.URL, o Options) (archive.Archive, error) {
	if u.Scheme != "s3" {
		return dir.Open(u.Path, func(d *dir.Options) { d.ReadBack = o.ReadBack })
	}
	return s3.Open(ctx, u, func(s *s3.Options) {
		s.ReadBack = s.ReadBack || o.ReadBack
		if o.Observe != nil {
			s.Observe = o.Observe
		}
	})
}

// CacheIn puts a cache of most bytes in a folder in front of what is read, unless
// all archives are folders, whose files the kernel can send itself.
func (a *Archives) CacheIn(folder string, most int64) (err error) {
	a.Far = slices.ContainsFunc(a.Each, func(one archive.Archive) bool { _, near := one.(*dir.Archive); return !near })
	if a.Read = a.Archive; a.Far && most > 0 {
		a.Read, err = cache.Open(folder, a.Archive, cache.Options{MaxBytes: most})
	}
	return err
}

// Cached is how the cache is, where there is one.
func (a *Archives) Cached() (s cache.Stats, ok bool) {
	c, ok := a.Read.(*cache.Cache)
	if ok {
		s = c.Stats()
	}
	return s, ok
}

// Suspect tells of an object that was found damaged while it was read.
func (a *Archives) Suspect(key string) {
	a.Forget(key)
	select {
	case a.suspects <- key:
	default:
	}
}

// Suspects has the keys of objects that were found damaged while they were read;
// those beyond its capacity are found by the next round.
func (a *Archives) Suspects() <-chan string { return a.suspects }

// Forget drops what the node's disk keeps of objects, which may be damaged.
func (a *Archives) Forget(keys ...string) {
	if c, ok := a.Read.(*cache.Cache); ok {
		c.Drop(keys...)
	}
}

// Paced are the archives read at a rate, and a set of them when they are several,
// which tells repaired of what it repaired; nil is nobody.
func (a *Archives) Paced(rate int64, repaired func(key string)) (slow []archive.Archive, all gateway.Copier, err error) {
	limit := paced.NewLimit(rate)
	for _, one := range a.Each {
		slow = append(slow, paced.Archive{Archive: one, Limit: limit})
	}
	if len(slow) < 2 {
		return slow, nil, nil
	}
	all, err = set.New(slow, set.Options{Repaired: repaired})
	return slow, all, err
}

// Health is how the archives fared when they were last asked, by name; failing
// is why nothing reaches the only one, or nil.
func (a *Archives) Health(failing error) map[string]error {
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
func (a *Archives) Close() {
	for _, one := range append([]archive.Archive{a.Read}, a.Each...) {
		if c, ok := one.(io.Closer); ok {
			c.Close()
		}
	}
}
