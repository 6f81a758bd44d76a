// Package s3 is an archive in a bucket of an S3-compatible server: an object
// of the archive is an object of the bucket, below a prefix. See DESIGN.md.
package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Archive is an archive.Archive in a bucket. It is made by Open or New.
type Archive struct {
	o       Options
	client  *awss3.Client
	wire    *http.Transport
	buffers sync.Pool // of *[]byte, each of smallBlock bytes

	mu        sync.Mutex
	heads     *simplelru.LRU[string, head]
	exclusive bool // the server was seen to refuse a second conditional put
}

// Open opens the archive that a URL names:
//
//	s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=eu-west-3&path-style=true
//
// with the parameters that Options documents. Credentials are found where
// every AWS tool looks for them (environment, shared files, the machine's
// role) and never stand in the URL. It does not speak to the server: Check
// does. A URL that is not understood in full is storage.ErrInvalid. Close may
// be called.
func Open(ctx context.Context, u *url.URL, more ...func(*Options)) (*Archive, error) {
	o, err := ParseURL(u)
	if err != nil {
		return nil, err
	}
	for _, f := range more {
		f(&o)
	}
	return New(ctx, o)
}

// New opens the archive that the options describe.
func New(ctx context.Context, o Options) (*Archive, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	var load []func(*config.LoadOptions) error
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	if o.Credentials != nil {
		load = append(load, config.WithCredentialsProvider(o.Credentials))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: %w", o.url(), storage.ErrInvalid, err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1" // what servers of other makes expect
	}
	heads, err := simplelru.NewLRU[string, head](o.KnownObjects, nil)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: %w", o.url(), storage.ErrInvalid, err)
	}
	a := &Archive{o: o, wire: transport(o, cfg.HTTPClient), heads: heads}
	a.buffers.New = func() any { b := make([]byte, smallBlock); return &b }
	a.client = awss3.NewFromConfig(cfg, a.configure)
	return a, nil
}

// configure takes from the SDK what this package does itself: it tries again
// with a fresh body, and it sums what it sends and checks what it reads.
func (a *Archive) configure(s *awss3.Options) {
	s.HTTPClient = &http.Client{Transport: a.wire, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // what is signed for one host is not for another
	}}
	if a.o.Endpoint != "" {
		s.BaseEndpoint = aws.String(a.o.Endpoint)
	}
	s.UsePathStyle = a.o.PathStyle
	s.Retryer = aws.NopRetryer{}
	s.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	s.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	s.APIOptions = append(s.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// transport is the one that the AWS configuration describes (its certificates,
// say), made for many long answers at once.
func transport(o Options, configured awss3.HTTPClient) *http.Transport {
	client, ok := configured.(*awshttp.BuildableClient)
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	t := client.GetTransport()
	t.DisableCompression = true // a range must come as it lies
	t.MaxIdleConns = 0
	t.MaxIdleConnsPerHost = 4 * max(o.ReadParallel, o.WriteParallel)
	t.ReadBufferSize = 64 << 10
	t.WriteBufferSize = 256 << 10
	t.TLSHandshakeTimeout = min(10*time.Second, o.Timeout)
	return t
}

// Close releases idle connections. Readers that are open stay so.
func (a *Archive) Close() error {
	a.wire.CloseIdleConnections()
	return nil
}

// String is the archive's URL, with nothing in it but bucket, prefix and
// endpoint: it is the archive's name in the index.
func (a *Archive) String() string { return a.o.url() }

// name is the key of the bucket under which a key of the archive lies.
func (a *Archive) name(key string) *string { return aws.String(a.o.Prefix + key) }

func (a *Archive) bucket() *string { return aws.String(a.o.Bucket) }

func accept(ctx context.Context, key string) error {
	return errors.Join(ctx.Err(), archive.ValidKey(key))
}

// Stat implements archive.Archive.
func (a *Archive) Stat(ctx context.Context, key string) (archive.Stat, error) {
	h, err := a.head(ctx, key)
	return archive.Stat{Key: key, Size: h.size, Modified: h.modified}, err
}

// Remove implements archive.Archive.
func (a *Archive) Remove(ctx context.Context, key string) error {
	if err := accept(ctx, key); err != nil {
		return err
	}
	a.forget(key)
	err := a.call(ctx, "remove", key, 0, func(ctx context.Context) error {
		_, err := a.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: a.bucket(), Key: a.name(key)})
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

func parseBool(s string) (bool, error) {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%w: %q is neither true nor false", storage.ErrInvalid, s)
	}
	return b, nil
}
