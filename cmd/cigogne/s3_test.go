package main

import (
	"fmt"
	"testing"

	"github.com/esante-alsace/cigogne/storage/archive/archivetest/s3test"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// s3URL is the --archive of a real server.
func s3URL(s *s3test.Server) string { return s3URLAt(s.URL()) }

// s3URLAt is that of a server that is reached at another URL.
func s3URLAt(endpoint string) string {
	return fmt.Sprintf("s3://%s/packs?endpoint=%s&region=%s&path-style=true", s3test.Bucket, endpoint, s3test.Region)
}

// TestS3Archive: packs go to a real S3 server; while that is away instances
// are taken in and given as before, and when it is back everything drains.
func TestS3Archive(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	dir, url := t.TempDir(), s3URL(server)
	node := serve(t, dir, "--archive", url, "--settle", "50ms", "--log-level", "error")
	l := newLedger()
	push := func(seed uint64) {
		t.Helper()
		if !pushSTOW(t.Context(), node, l, dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: 10}).Instances) {
			t.Fatal("push failed")
		}
	}
	push(1)
	node.archived()
	checkSome(t, node, l.acknowledged, len(l.acknowledged), nil)

	server.Kill(t)
	live := newLedger()
	before := l
	l = live
	push(2)
	checkSome(t, node, live.acknowledged, len(live.acknowledged), nil)
	checkSome(t, node, before.acknowledged, len(before.acknowledged), nil) // read before: it is on the node's disk
	node.eventually("told of", func() bool { return metric(t, node, "cigogne_archive_failing") == "1" })
	node.kill()
	node = serve(t, dir, "--archive", url, "--settle", "50ms", "--log-level", "error") // starts without its archive, too
	checkSome(t, node, live.acknowledged, len(live.acknowledged), nil)

	server.Restart(t)
	node.archived()
	checkSome(t, node, before.acknowledged, len(before.acknowledged), nil)
	checkSome(t, node, live.acknowledged, len(live.acknowledged), nil)
	node.stop()
	out, err := command(t.Context(), "fsck", "--data-dir", dir, "--archive", url).CombinedOutput()
	if err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
}

// TestS3AndDirectory: with two archives each pack lies in both.
func TestS3AndDirectory(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	dir, backup := t.TempDir(), t.TempDir()
	flags := []string{"--archive", s3URL(server), "--archive", "dir://" + backup}
	node := serve(t, dir, append(flags, "--settle", "50ms", "--log-level", "error")...)
	l := newLedger()
	if !pushSTOW(t.Context(), node, l, dicomtest.NewStudy(dicomtest.Options{Seed: 3, Modality: "CR", Instances: 10}).Instances) {
		t.Fatal("push failed")
	}
	node.archived()
	server.Kill(t) // the directory answers alone
	checkSome(t, node, l.acknowledged, len(l.acknowledged), nil)
	server.Restart(t)
	node.stop()
	out, err := command(t.Context(), append([]string{"fsck", "--data-dir", dir}, flags...)...).CombinedOutput()
	if err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
}
