package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
)

// inS3 is our node with packs in S3, after a second of quiet.
func (s Settings) inS3() subject.Cigogne {
	c := s.ours()
	c.S3, c.Settle, c.Label = true, time.Second, "s3"
	return c
}

// s3Store is C-STORE while what came before goes to S3, beside the same with a
// folder as archive.
func (s Settings) s3Store() benchmarks.Workload {
	send := storescu(4, false)
	folder := s.ours()
	folder.Settle, folder.Label = time.Second, "packing"
	return benchmarks.Workload{
		Name: "s3-store", Title: "C-STORE by stock storescu, 4 associations, while series go to S3 after a second",
		Primary: result.Throughput, Unit: result.Instances, Amount: s.Instances, Material: ct,
		Cases: []benchmarks.Case{
			{Subject: s.inS3(), Drive: send},
			{Subject: folder, Drive: send},
		},
	}
}

// s3Study is a study out of S3, of which our node keeps nothing, beside one
// GET of an object of the same size from the same kind of server.
func (s Settings) s3Study(h *held) benchmarks.Workload {
	cached := s.inS3()
	cached.Cache, cached.Label = "8GiB", "s3 cached"
	get := counting(gets(1, web, h.studyAsk))
	return benchmarks.Workload{
		Name: "s3-study", Title: fmt.Sprintf("WADO-RS, a study of %d CT out of S3, 1 client", s.Instances),
		Primary: result.Throughput, Unit: result.Requests, Amount: 8,
		Cases: []benchmarks.Case{
			{Subject: s.inS3(), Fill: h.filledAndPacked, Drive: get},
			{Subject: subject.Versitygw{Title: "one get"}, Fill: h.asObject, Drive: getObject},
			{Subject: cached, Fill: h.filledAndPacked, Drive: get},
		},
	}
}

// counting adds how many requests our node made of S3 for each of its own.
func counting(drive driver) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		const name = "cigogne_s3_request_duration_seconds_count"
		before, err := metric(ctx, r.At, name)
		if err != nil {
			return benchmarks.Work{}, err
		}
		work, err := drive(ctx, r)
		after, merr := metric(ctx, r.At, name)
		if err := errors.Join(err, merr); err != nil {
			return work, err
		}
		work.More[result.S3Requests] = (after - before) / float64(work.Units)
		return work, nil
	}
}

// studyObject is the key of the object that is one study.
const studyObject = "study"

func s3Client(at subject.Endpoints) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(at.S3), UsePathStyle: true, Region: subject.S3Region,
		Credentials: credentials.NewStaticCredentialsProvider(subject.S3AccessKey, subject.S3SecretKey, ""),
	})
}

// asObject puts all instances as one object.
func (h *held) asObject(ctx context.Context, at subject.Endpoints) error {
	path := filepath.Join(filepath.Dir(at.Dir), "study")
	if err := h.asFile(path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = s3Client(at).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(subject.S3Bucket), Key: aws.String(studyObject), Body: f})
	return err
}

// getObject reads the object in one request, as often as there is to do.
func getObject(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
	client := s3Client(r.At)
	var times latencies
	bytes := int64(0)
	began := time.Now()
	for range r.Amount {
		asked := time.Now()
		out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(subject.S3Bucket), Key: aws.String(studyObject)})
		if err != nil {
			return benchmarks.Work{}, err
		}
		first := time.Since(asked)
		n, err := drain(struct{ io.Reader }{out.Body})
		out.Body.Close()
		if err != nil {
			return benchmarks.Work{}, err
		}
		bytes += n
		times.add(first, time.Since(asked))
	}
	return benchmarks.Work{Bytes: bytes, Units: r.Amount, Elapsed: time.Since(began), More: times.measures()}, nil
}
