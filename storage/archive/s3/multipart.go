package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// partLength is the length of the parts in which an object is put: the
// configured one, or whole MiB so large that the protocol's number of parts
// does. An object that fits into one part is sent in one request.
func (a *Archive) partLength(size int64) int64 {
	part := a.o.WritePart
	if least := (size + mostParts - 1) / mostParts; least > part {
		part = (least + mib - 1) / mib * mib
	}
	return part
}

// upload is a multipart upload that is under way.
type upload struct {
	archive *Archive
	key     string
	id      *string
	src     archive.Source
	summary
	parts []types.CompletedPart
}

// putParts sends an object in parts and returns the checksum that the server
// has of the whole, if it says. Nothing is visible before it is complete.
func (a *Archive) putParts(ctx context.Context, key string, src archive.Source, s summary) (string, error) {
	// The condition is only checked at the end: so much is not sent in vain.
	if _, err := a.head(ctx, key); err == nil {
		return "", errTaken
	} else if !errors.Is(err, storage.ErrNotFound) {
		return "", err
	}
	u := &upload{archive: a, key: key, src: src, summary: s, parts: make([]types.CompletedPart, len(s.parts))}
	if err := u.begin(ctx); err != nil {
		return "", err
	}
	err := u.sendAll(ctx)
	if errors.Is(err, storage.ErrNotFound) { // the upload was swept away
		err = fmt.Errorf("%w: %v", storage.ErrUnavailable, err) //nolint:errorlint // it is not the object that is missing
	}
	confirmed := ""
	if err == nil {
		confirmed, err = u.complete(ctx)
	}
	if err != nil {
		u.abort(ctx)
	}
	return confirmed, err
}

func (u *upload) begin(ctx context.Context) error {
	return u.archive.call(ctx, "begin to put", u.key, 0, func(ctx context.Context) error {
		out, err := u.archive.client.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{
			Bucket: u.archive.bucket(), Key: u.archive.name(u.key), Metadata: u.metadata(),
			ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c, ChecksumType: types.ChecksumTypeFullObject,
		})
		if err == nil {
			u.id = out.UploadId
		}
		return err
	})
}

// sendAll sends the parts, some at the same time; the first that fails for
// good ends the others.
func (u *upload) sendAll(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(u.archive.o.WriteParallel)
	for i := range u.parts {
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error { return u.send(groupCtx, i) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ended(ctx, "put", u.key)
}

func (u *upload) send(ctx context.Context, i int) error {
	r := storage.Range{Offset: int64(i) * u.part}
	r.Length = min(u.part, u.size-r.Offset)
	number, crc := aws.Int32(int32(i)+1), aws.String(encodeCRC(u.summary.parts[i])) //nolint:gosec // at most 10,000
	return u.archive.callSending(ctx, "put a part of", u.key, r.Length, func(ctx context.Context, moved func()) error {
		return send(ctx, moved, u.src, r, func(body io.Reader) error {
			out, err := u.archive.client.UploadPart(ctx, &awss3.UploadPartInput{
				Bucket: u.archive.bucket(), Key: u.archive.name(u.key), UploadId: u.id, PartNumber: number,
				Body: body, ContentLength: aws.Int64(r.Length), ChecksumCRC32C: crc,
			})
			if err == nil {
				u.parts[i] = types.CompletedPart{ETag: out.ETag, PartNumber: number, ChecksumCRC32C: crc}
			}
			return err
		})
	})
}

// complete makes the object of its parts, unless the key is taken.
func (u *upload) complete(ctx context.Context) (string, error) {
	confirmed := ""
	// A server that puts the parts together byte by byte does so at its disk's rate.
	err := u.archive.call(ctx, "finish to put", u.key, u.size/256, func(ctx context.Context) error {
		out, err := u.archive.client.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{
			Bucket: u.archive.bucket(), Key: u.archive.name(u.key), UploadId: u.id,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts}, IfNoneMatch: aws.String("*"),
			ChecksumCRC32C: aws.String(encodeCRC(u.whole)), ChecksumType: types.ChecksumTypeFullObject,
		})
		if err == nil {
			confirmed = checksumOfWhole(out.ChecksumCRC32C, out.ChecksumType)
		}
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		// No such upload: an attempt before, whose answer was lost, completed it.
		err = errTaken
	}
	return confirmed, err
}

// abort gives the parts back, also when the caller is gone. What cannot be
// reached now is swept later.
func (u *upload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.archive.o.Timeout)
	defer cancel()
	_ = u.archive.call(ctx, "give up to put", u.key, 0, func(ctx context.Context) error {
		_, err := u.archive.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{
			Bucket: u.archive.bucket(), Key: u.archive.name(u.key), UploadId: u.id,
		})
		return err
	})
}

// Sweep gives back the parts of uploads that began before a time and were
// neither finished nor given up, as crashes and outages leave them, and tells
// how many there were. Parts cost space and are not to be seen in a listing.
func (a *Archive) Sweep(ctx context.Context, before time.Time) (int, error) {
	swept := 0
	pages := awss3.NewListMultipartUploadsPaginator(a.client, &awss3.ListMultipartUploadsInput{
		Bucket: a.bucket(), Prefix: aws.String(a.o.Prefix),
	})
	for pages.HasMorePages() {
		var page *awss3.ListMultipartUploadsOutput
		err := a.call(ctx, "list uploads below", a.o.Prefix, 0, func(ctx context.Context) (err error) {
			page, err = pages.NextPage(ctx)
			return err
		})
		if err != nil {
			return swept, err
		}
		for _, found := range page.Uploads {
			if !aws.ToTime(found.Initiated).Before(before) {
				continue
			}
			err := a.call(ctx, "give up", aws.ToString(found.Key), 0, func(ctx context.Context) error {
				_, err := a.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{
					Bucket: a.bucket(), Key: found.Key, UploadId: found.UploadId,
				})
				return err
			})
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				return swept, err
			}
			swept++
		}
	}
	return swept, nil
}
