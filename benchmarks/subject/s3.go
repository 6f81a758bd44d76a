package subject

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// What a versitygw of the benchmarks is opened with.
const (
	S3AccessKey = "cigogne"
	S3SecretKey = "only-for-benchmarks"
	S3Bucket    = "archive"
	S3Region    = "us-east-1"
)

// Versitygw is an S3 server on the same disk: what a client gets from it is
// what our node could give at best.
type Versitygw struct{ Title string }

// Name implements Subject.
func (v Versitygw) Name() string { return v.Title }

// Role implements Subject.
func (Versitygw) Role() result.Role { return result.Limit }

// Promise implements Subject.
func (Versitygw) Promise() string { return "an S3 server alone" }

// Start implements Subject.
func (Versitygw) Start(ctx context.Context, dir, _ string) (*Running, error) {
	return startS3(ctx, filepath.Join(dir, "s3"))
}

// startS3 starts a server that keeps its bucket in a directory, which it makes.
func startS3(ctx context.Context, dir string) (*Running, error) {
	path, err := program("versitygw")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, S3Bucket), 0o755); err != nil {
		return nil, err
	}
	addr, _, err := freeAddress("127.0.0.1")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, "--port", addr, "--quiet", "--keep-alive", "posix", dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+S3AccessKey, "ROOT_SECRET_ACCESS_KEY="+S3SecretKey)
	return launch(ctx, cmd, Endpoints{S3: "http://" + addr, Dir: dir}, addr)
}

// s3Flags are those by which our node uses a server, and its environment.
func s3Flags(at Endpoints, cache string) (flags, env []string) {
	url := fmt.Sprintf("s3://%s/packs?endpoint=%s&region=%s&path-style=true", S3Bucket, at.S3, S3Region)
	return []string{"--archive", url, "--cache-max", cache},
		[]string{"AWS_ACCESS_KEY_ID=" + S3AccessKey, "AWS_SECRET_ACCESS_KEY=" + S3SecretKey}
}
