package s3

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Options describe an archive. All but Bucket may be left empty.
type Options struct {
	// Bucket and Prefix are where the objects lie: the URL's host and path.
	// A prefix that is not empty ends in a slash; New adds it.
	Bucket, Prefix string
	// Endpoint is the server's URL ("endpoint"); empty is AWS.
	Endpoint string
	// Region ("region"); empty is what the AWS configuration says.
	Region string
	// Profile is a section of the shared AWS configuration ("profile").
	Profile string
	// PathStyle puts the bucket into the path instead of into the host's name,
	// which is what servers of other makes mostly want ("path-style").
	PathStyle bool
	// Credentials replace those that the AWS configuration finds.
	Credentials aws.CredentialsProvider

	// WritePart is the length of the parts in which larger objects are put,
	// at least 5 MiB ("write-part", in MiB; 16), and WriteParallel how many
	// of one object are under way at once ("write-parallel"; 4).
	WritePart     int64
	WriteParallel int
	// ReadPart is about the length of the ranges in which objects are read, a
	// power of two of at least 1 MiB ("read-part", in MiB; 64), ReadParallel
	// how many of one reader are under way at once ("read-parallel"; 2), and
	// ReadWindow bounds what one reader holds in memory ("read-window", in MiB;
	// 8).
	ReadPart     int64
	ReadParallel int
	ReadWindow   int64

	// ReadBack has each Put read what it stored, instead of relying on the
	// server's own checksum ("confirm", checksum or read).
	ReadBack bool
	// Timeout is how long the server may be silent before an attempt is given
	// up ("timeout"; 20s). What takes long because it is large has longer.
	Timeout time.Duration
	// Attempts is how often a request is made before its failure is believed
	// ("attempts"; 4), after pauses that double from Pause (100 ms) up to 50
	// times that, each shortened by chance by up to a half.
	Attempts int
	Pause    time.Duration
	// KnownObjects is of how many objects size and checksums are remembered
	// (4096; up to 1.5 kB each).
	KnownObjects int
	// Observe is told of every request made, when it is not nil: which, how
	// long until its answer began (or its failure), and how it ended. It is
	// called by many goroutines.
	Observe func(operation string, took time.Duration, err error)
}

const (
	mib = 1 << 20
	// leastPart and mostParts are the protocol's own bounds.
	leastPart = 5 * mib
	mostParts = 10_000
	// largest is the length of the largest object of the protocol.
	largest = 5 << 40
	// leastRate is what a server must manage, in bytes a second, to not be
	// taken for hung.
	leastRate = 64 << 10
)

// ParseURL reads an archive's URL; see Open and Options. A secret in the URL,
// an unknown parameter or one given twice is storage.ErrInvalid.
func ParseURL(u *url.URL) (Options, error) {
	o := Options{Bucket: u.Host, Prefix: strings.TrimPrefix(u.Path, "/")}
	switch {
	case u.Scheme != "s3":
		return o, fmt.Errorf("%w: an archive of scheme %q is not s3", storage.ErrInvalid, u.Scheme)
	case u.User != nil:
		return o, fmt.Errorf("%w: credentials do not belong into an archive's URL", storage.ErrInvalid)
	case u.Fragment != "":
		return o, fmt.Errorf("%w: an archive's URL has no fragment", storage.ErrInvalid)
	}
	for name, values := range u.Query() {
		err := fmt.Errorf("%w: given %d times", storage.ErrInvalid, len(values))
		if len(values) == 1 {
			err = o.set(name, values[0])
		}
		if err != nil {
			return o, fmt.Errorf("archive s3://%s: parameter %q: %w", u.Host, name, err)
		}
	}
	return o, o.complete()
}

func (o *Options) set(name, value string) (err error) {
	switch name {
	case "endpoint":
		o.Endpoint = value
	case "region":
		o.Region = value
	case "profile":
		o.Profile = value
	case "path-style":
		o.PathStyle, err = parseBool(value)
	case "confirm":
		o.ReadBack = value == "read"
		if value != "read" && value != "checksum" {
			err = fmt.Errorf("%w: %q is neither checksum nor read", storage.ErrInvalid, value)
		}
	default:
		err = o.tune(name, value)
	}
	return err
}

// tune sets one of the numbers.
func (o *Options) tune(name, value string) (err error) {
	switch name {
	case "write-part":
		o.WritePart, err = parseCount(value, mib)
	case "write-parallel":
		o.WriteParallel, err = parseInt(value)
	case "read-part":
		o.ReadPart, err = parseCount(value, mib)
	case "read-parallel":
		o.ReadParallel, err = parseInt(value)
	case "read-window":
		o.ReadWindow, err = parseCount(value, mib)
	case "timeout":
		if o.Timeout, err = time.ParseDuration(value); err != nil || o.Timeout <= 0 {
			err = fmt.Errorf("%w: %q is no duration", storage.ErrInvalid, value)
		}
	case "attempts":
		o.Attempts, err = parseInt(value)
	default:
		err = fmt.Errorf("%w: unknown", storage.ErrInvalid)
	}
	return err
}

// parseCount reads a positive number of units.
func parseCount(s string, unit int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%w: %q is no count", storage.ErrInvalid, s)
	}
	return n * unit, nil
}

func parseInt(s string) (int, error) {
	n, err := parseCount(s, 1)
	return int(n), err
}

// complete fills in the defaults and refuses what cannot work.
func (o *Options) complete() error {
	defaults(&o.WritePart, 16*mib)
	defaults(&o.WriteParallel, 4)
	defaults(&o.ReadPart, 64*mib)
	defaults(&o.ReadParallel, 2)
	defaults(&o.ReadWindow, 8*mib)
	defaults(&o.Timeout, 20*time.Second)
	defaults(&o.Attempts, 4)
	defaults(&o.Pause, 100*time.Millisecond)
	defaults(&o.KnownObjects, 4096)
	o.Prefix = strings.TrimSuffix(o.Prefix, "/")
	switch {
	case o.Bucket == "":
		return fmt.Errorf("%w: an archive in S3 needs a bucket: s3://bucket/prefix", storage.ErrInvalid)
	case o.Prefix != "" && archive.ValidKey(o.Prefix) != nil:
		return fmt.Errorf("archive s3://%s: prefix: %w", o.Bucket, archive.ValidKey(o.Prefix))
	case o.WritePart < leastPart || o.WritePart > 5<<30:
		return fmt.Errorf("%w: archive s3://%s: write-part is %d bytes, and must be 5 MiB to 5 GiB", storage.ErrInvalid, o.Bucket, o.WritePart)
	case o.ReadPart < mib || o.ReadPart&(o.ReadPart-1) != 0:
		return fmt.Errorf("%w: archive s3://%s: read-part is %d bytes, which is no power of two from 1 MiB", storage.ErrInvalid, o.Bucket, o.ReadPart)
	case o.WriteParallel > 64 || o.ReadParallel > 64:
		return fmt.Errorf("%w: archive s3://%s: more than 64 requests at once for one object", storage.ErrInvalid, o.Bucket)
	}
	if o.Prefix != "" {
		o.Prefix += "/"
	}
	return o.checkEndpoint()
}

func (o *Options) checkEndpoint() error {
	if o.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("%w: archive s3://%s: endpoint is not http://host:port or https://host", storage.ErrInvalid, o.Bucket)
	}
	o.Endpoint = strings.TrimSuffix(o.Endpoint, "/")
	return nil
}

func defaults[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// url names the archive; it has no secrets, and nothing that may be tuned.
func (o *Options) url() string {
	u := url.URL{Scheme: "s3", Host: o.Bucket, Path: "/" + strings.TrimSuffix(o.Prefix, "/")}
	if o.Endpoint != "" {
		u.RawQuery = "endpoint=" + url.QueryEscape(o.Endpoint)
	}
	return u.String()
}
