package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// List implements archive.Archive. It holds one page of the server's listing
// in memory, and passes over what others put there under names that are no
// keys.
func (a *Archive) List(ctx context.Context, prefix string) iter.Seq2[archive.Stat, error] {
	return func(yield func(archive.Stat, error) bool) {
		if err := ended(ctx, "list", prefix); err != nil {
			yield(archive.Stat{}, err)
			return
		}
		if !beginsKeys(prefix) {
			return
		}
		pages := awss3.NewListObjectsV2Paginator(a.client, &awss3.ListObjectsV2Input{Bucket: a.bucket(), Prefix: a.name(prefix)})
		for pages.HasMorePages() {
			var page *awss3.ListObjectsV2Output
			err := a.call(ctx, "list", prefix, 0, func(ctx context.Context) (err error) {
				page, err = pages.NextPage(ctx)
				return err
			})
			if err != nil {
				yield(archive.Stat{}, err)
				return
			}
			if !a.yieldPage(page.Contents, yield) {
				return
			}
		}
	}
}

func (a *Archive) yieldPage(objects []types.Object, yield func(archive.Stat, error) bool) bool {
	for _, o := range objects {
		key := strings.TrimPrefix(aws.ToString(o.Key), a.o.Prefix)
		if archive.ValidKey(key) != nil {
			continue
		}
		if !yield(archive.Stat{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}, nil) {
			return false
		}
	}
	return true
}

// beginsKeys tells whether any key can begin with the prefix. What cannot is
// not sent: servers differ in what they make of it.
func beginsKeys(prefix string) bool {
	return prefix == "" || archive.ValidKey(prefix) == nil || archive.ValidKey(prefix+"x") == nil
}

// Check implements archive.Archive: it puts an object and removes it. The
// first time it also sees that the server refuses a second conditional put of
// the same key; one that does not would let objects be overwritten, and is
// storage.ErrUnsupported.
func (a *Archive) Check(ctx context.Context) error {
	key := ".check/" + rand.Text() // no key of the archive begins with a dot
	if err := ended(ctx, "check", a.o.url()); err != nil {
		return err
	}
	put := func(ctx context.Context) error {
		_, err := a.client.PutObject(ctx, &awss3.PutObjectInput{
			Bucket: a.bucket(), Key: a.name(key), Body: strings.NewReader("x"), IfNoneMatch: aws.String("*"),
		})
		return err
	}
	err := a.call(ctx, "check with", key, 0, put)
	if err != nil && !errors.Is(err, errTaken) { // by an attempt whose answer was lost
		if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalid) {
			err = fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		}
		return err
	}
	if !a.seenExclusive() {
		if err = a.call(ctx, "check with", key, 0, put); err == nil {
			err = fmt.Errorf("%w: %s overwrites objects although it is asked not to (If-None-Match)", storage.ErrUnsupported, a)
		} else if errors.Is(err, errTaken) {
			err = nil
			a.setExclusive()
		}
	}
	return errors.Join(err, a.call(ctx, "remove", key, 0, func(ctx context.Context) error {
		_, err := a.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: a.bucket(), Key: a.name(key)})
		return err
	}))
}

func (a *Archive) seenExclusive() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.exclusive
}

func (a *Archive) setExclusive() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.exclusive = true
}
