package s3

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/esante-alsace/cigogne/storage"
)

// head is what is known of an object without reading it.
type head struct {
	size     int64
	etag     string
	modified time.Time
	whole    string // the server's checksum of all bytes, if it told one
	sums     sums
}

// head asks the server about an object.
func (a *Archive) head(ctx context.Context, key string) (head, error) {
	if err := accept(ctx, key); err != nil {
		return head{}, err
	}
	var h head
	err := a.call(ctx, "look at", key, 0, func(ctx context.Context) error {
		out, err := a.client.HeadObject(ctx, &awss3.HeadObjectInput{
			Bucket: a.bucket(), Key: a.name(key), ChecksumMode: types.ChecksumModeEnabled,
		})
		if err != nil {
			return err
		}
		h = head{
			size: aws.ToInt64(out.ContentLength), etag: aws.ToString(out.ETag), modified: aws.ToTime(out.LastModified),
			whole: checksumOfWhole(out.ChecksumCRC32C, out.ChecksumType),
		}
		h.sums = parseSums(out.Metadata[sumsHeader], h.size)
		return nil
	})
	if errors.Is(err, storage.ErrNotFound) {
		a.forget(key)
		// An answer to HEAD has no error code: without this question a bucket
		// that is away would make all its objects lost.
		if gone := a.bucketExists(ctx); gone != nil {
			return head{}, gone
		}
	}
	return h, err
}

func (a *Archive) bucketExists(ctx context.Context) error {
	err := a.call(ctx, "look at bucket", a.o.Bucket, 0, func(ctx context.Context) error {
		_, err := a.client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: a.bucket()})
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: bucket %q does not exist", storage.ErrUnavailable, a.o.Bucket)
	}
	return err
}

// known is what is remembered of an object.
func (a *Archive) known(key string) (head, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heads.Get(key)
}

func (a *Archive) remember(key string, h head) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heads.Add(key, h)
}

func (a *Archive) forget(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heads.Remove(key)
}
