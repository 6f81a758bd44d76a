package s3_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest/s3test"
	"github.com/esante-alsace/cigogne/storage/archive/s3"
)

// open opens an archive below a prefix of the test's own.
func open(t testing.TB, endpoint string, more ...func(*s3.Options)) *s3.Archive {
	t.Helper()
	u := &url.URL{Scheme: "s3", Host: s3test.Bucket, Path: "/site/packs"}
	u.RawQuery = url.Values{"endpoint": {endpoint}, "region": {s3test.Region}, "path-style": {"true"}}.Encode()
	more = append([]func(*s3.Options){func(o *s3.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider(s3test.AccessKey, s3test.SecretKey, "")
		o.Pause = time.Millisecond
	}}, more...)
	a, err := s3.Open(t.Context(), u, more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func TestArchive(t *testing.T) {
	archivetest.Run(t, func(t testing.TB) archive.Archive { return open(t, s3test.Start(t).URL()) })
}

// TestSmallParts has objects of the suite lie in many parts of all kinds, and
// be read by many ranges.
func TestSmallParts(t *testing.T) {
	archivetest.Run(t, func(t testing.TB) archive.Archive {
		return open(t, s3test.Start(t).URL(), func(o *s3.Options) {
			o.WritePart, o.ReadPart, o.ReadParallel, o.ReadWindow = 5<<20, 1<<20, 3, 2<<20
			o.ReadBack = true
		})
	})
}

func BenchmarkArchive(b *testing.B) {
	server := s3test.Start(b)
	n := 0
	archivetest.Bench(b, func(t testing.TB) archive.Archive {
		n++
		return open(t, server.URL(), func(o *s3.Options) { o.Prefix = string(rune('a' + n)) })
	})
}
