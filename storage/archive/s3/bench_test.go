package s3_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest/s3test"
	"github.com/esante-alsace/cigogne/storage/archive/s3"
)

// BenchmarkRetrieval reads the sizes of two real studies, as packs of their
// own, in several ways and as one plain GET of the SDK.
func BenchmarkRetrieval(b *testing.B) {
	server := s3test.Start(b)
	for _, size := range []int{72_000_000, 260_000_000} {
		key := fmt.Sprintf("study%d", size)
		if _, err := open(b, server.URL()).Put(b.Context(), key, archivetest.Random(1, size)); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%dMB/one GET", size/1e6), func(b *testing.B) { benchPlain(b, server, key, size) })
		for _, way := range []struct {
			part     int64
			parallel int
		}{{8, 8}, {16, 4}, {64, 2}, {64, 1}} {
			b.Run(fmt.Sprintf("%dMB/%dx%dMiB", size/1e6, way.parallel, way.part), func(b *testing.B) {
				requests := 0
				a := open(b, server.URL(), func(o *s3.Options) { o.ReadPart, o.ReadParallel = way.part<<20, way.parallel })
				b.SetBytes(int64(size))
				for b.Loop() {
					r, err := a.Get(b.Context(), key, storage.Range{Length: int64(size)})
					if err != nil {
						b.Fatal(err)
					}
					if n, err := io.Copy(struct{ io.Writer }{io.Discard}, r); err != nil || n != int64(size) {
						b.Fatal(n, err)
					}
					r.Close()
					requests = (size + int(way.part)<<20 - 1) / (int(way.part) << 20)
				}
				b.ReportMetric(float64(requests), "requests/op")
			})
		}
	}
}

func benchPlain(b *testing.B, server *s3test.Server, key string, size int) {
	client := awss3.New(awss3.Options{
		BaseEndpoint: aws.String(server.URL()), UsePathStyle: true, Region: s3test.Region,
		Credentials: credentials.NewStaticCredentialsProvider(s3test.AccessKey, s3test.SecretKey, ""),
	})
	b.SetBytes(int64(size))
	buf := make([]byte, 256<<10)
	for b.Loop() {
		out, err := client.GetObject(b.Context(), &awss3.GetObjectInput{Bucket: aws.String(s3test.Bucket), Key: aws.String("site/packs/" + key)})
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{out.Body}, buf); err != nil || n != int64(size) {
			b.Fatal(n, err)
		}
		out.Body.Close()
	}
}
