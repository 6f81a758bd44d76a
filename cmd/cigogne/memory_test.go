package main

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// hugeFrames is how many frames of 512 KiB the huge instance has: 3 GB, and
// with -short a tenth.
func hugeFrames() int {
	if testing.Short() {
		return 600
	}
	return 6000
}

// roomFor skips the test when the disk is too full for it.
func roomFor(t *testing.T, dir string, bytes int64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < bytes {
		t.Skipf("%d MiB of free space, %d are needed", free>>20, bytes>>20)
	}
}

// TestHugeInstance takes a multi-frame of 3 GB through every way in and out,
// out of the journal and out of a pack, in less than 200 MiB of memory.
func TestHugeInstance(t *testing.T) {
	if testing.Short() {
		t.Skip("sends gigabytes")
	}
	t.Parallel() // it waits more than it works
	dir := t.TempDir()
	roomFor(t, dir, int64(hugeFrames())<<19*4)
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 1000, Instances: 1, Frames: hugeFrames()}).Instances[0]
	h := storage.NewDigester()
	if _, err := io.Copy(h, in.Reader()); err != nil {
		t.Fatal(err)
	}
	want := h.Digest()
	for _, way := range []string{"C-STORE", "STOW-RS"} {
		t.Run(way, func(t *testing.T) {
			dir := filepath.Join(dir, way)
			node := serve(t, dir, "--settle", "1s", "--log-level", "error")
			if way == "C-STORE" {
				timed(t, node, "in by C-STORE", in.Size(), func() error { return cstoreHuge(t.Context(), node, in) })
			} else {
				timed(t, node, "in by STOW-RS", in.Size(), func() error { return stowHuge(t.Context(), node, in) })
			}
			if way == "C-STORE" { // while it is packed, and from the journal until then
				retrieveHuge(t, node, in, want)
			}
			timed(t, node, "packed", in.Size(), func() error {
				return poll(200*time.Millisecond, func() (bool, error) {
					return metric(t, node, `cigogne_index_held{kind="packs"}`) == "1" && metric(t, node, `cigogne_index_held{kind="live"}`) == "0", nil
				})
			})
			if way == "STOW-RS" {
				retrieveHuge(t, node, in, want)
			}
			node.stop()
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// timed runs a step, and logs its rate and the memory that the node has held
// by then.
func timed(t *testing.T, node *process, what string, bytes int64, step func() error) {
	t.Helper()
	began := time.Now()
	if err := step(); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, tail(node.log.String(), 2000))
	}
	took := time.Since(began)
	_, most := node.rss()
	t.Logf("%-28s %6.1f s %6.0f MB/s, at most %d MiB of memory", what, took.Seconds(), float64(bytes)/1e6/took.Seconds(), most>>20)
	if most > memoryLimit {
		t.Errorf("%s: %d MiB of memory, of at most %d", what, most>>20, memoryLimit>>20)
	}
}

func cstoreHuge(ctx context.Context, node *process, in dicomtest.Instance) error {
	a, err := associate(ctx, node.dimse, 0, in)
	if err != nil {
		return err
	}
	defer a.Abort()
	return cstore(ctx, a, in, in.Reader())
}

func stowHuge(ctx context.Context, node *process, in dicomtest.Instance) error {
	head := "--b\r\nContent-Type: application/dicom\r\n\r\n" + string(dicomtest.FileMeta(in.SOPClassUID, in.SOPInstanceUID, in.TransferSyntaxUID))
	const end = "\r\n--b--"
	r, w := io.Pipe()
	go func() {
		_, err := io.WriteString(w, head)
		if err == nil {
			_, err = io.Copy(w, in.Reader())
		}
		if err == nil {
			_, err = io.WriteString(w, end)
		}
		w.CloseWithError(err)
	}()
	defer r.Close()
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, node.web+"/dicom-web/studies", r)
	if err != nil {
		return err
	}
	rq.ContentLength = int64(len(head)+len(end)) + in.Size()
	rq.Header.Set("Content-Type", `multipart/related; type="application/dicom"; boundary=b`)
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", answer.Status)
	}
	return nil
}

// retrieveHuge gets the instance in every way there is.
func retrieveHuge(t *testing.T, node *process, in dicomtest.Instance, want storage.Digest) {
	t.Helper()
	ctx := t.Context()
	instance := instanceURL(node.web, keyOf(in))
	study := node.web + "/dicom-web/studies/" + in.StudyInstanceUID
	same := func(r io.Reader) error {
		buffered := bufio.NewReaderSize(r, 64<<10)
		if _, err := dicom.ReadPart10(buffered); err != nil {
			return err
		}
		return compare(buffered, want)
	}
	timed(t, node, "instance", in.Size(), func() error {
		body, err := get(ctx, instance, "application/dicom")
		if err != nil {
			return err
		}
		defer body.Close()
		return same(body)
	})
	timed(t, node, "study, multipart", in.Size(), func() error {
		return eachPart(ctx, study, `multipart/related; type="application/dicom"`, same)
	})
	timed(t, node, "study, zip", in.Size(), func() error { return zipOf(ctx, t, study, same) })
	frame := hugeFrames()/2 + 1
	pixels := make([]byte, 1<<19)
	all := in.Reader()
	head := in.Size() - int64(hugeFrames())<<19
	if _, err := io.CopyN(io.Discard, all, head+int64(frame-1)<<19); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(all, pixels); err != nil {
		t.Fatal(err)
	}
	timed(t, node, "frame in the middle", int64(len(pixels)), func() error {
		return eachPart(ctx, fmt.Sprintf("%s/frames/%d", instance, frame), `multipart/related; type="application/octet-stream"`,
			func(r io.Reader) error { return compare(r, storage.DigestOf(pixels)) })
	})
	timed(t, node, "range", int64(len(pixels)), func() error { return rangeOf(ctx, instance, in, frame, pixels) })
	timed(t, node, "metadata", 0, func() error {
		body, err := get(ctx, instance+"/metadata", "application/dicom+json")
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.Copy(io.Discard, body)
		return err
	})
}

func compare(r io.Reader, want storage.Digest) error {
	h := storage.NewDigester()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if got := h.Digest(); got != want {
		return fmt.Errorf("digest %s, not %s", got, want)
	}
	return nil
}

// eachPart hands on the one part of a multipart answer.
func eachPart(ctx context.Context, at, accept string, to func(io.Reader) error) error {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	rq.Header.Set("Accept", accept)
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, params, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || answer.StatusCode != http.StatusOK || answer.ContentLength < 0 {
		return fmt.Errorf("%s, Content-Length %d, %w", answer.Status, answer.ContentLength, err)
	}
	parts := multipart.NewReader(answer.Body, params["boundary"])
	part, err := parts.NextRawPart()
	if err != nil {
		return err
	}
	if err := to(part); err != nil {
		return err
	}
	if _, err := parts.NextRawPart(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("more than one part, %w", err)
	}
	return nil
}

// zipOf keeps the ZIP in a file, as its directory comes last.
func zipOf(ctx context.Context, t *testing.T, at string, to func(io.Reader) error) error {
	body, err := get(ctx, at, "application/zip")
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.CreateTemp(t.TempDir(), "study.zip")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	n, err := io.Copy(f, body)
	if err != nil {
		return err
	}
	z, err := zip.NewReader(f, n)
	if err != nil {
		return err
	}
	if len(z.File) != 1 {
		return fmt.Errorf("%d entries", len(z.File))
	}
	entry, err := z.File[0].Open()
	if err != nil {
		return err
	}
	defer entry.Close()
	return to(entry)
}

// rangeOf gets the bytes of a frame as a range of the file.
func rangeOf(ctx context.Context, at string, in dicomtest.Instance, frame int, want []byte) error {
	rq, err := http.NewRequestWithContext(ctx, http.MethodHead, at, nil)
	if err != nil {
		return err
	}
	rq.Header.Set("Accept", "application/dicom")
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return err
	}
	answer.Body.Close()
	from := answer.ContentLength - int64(hugeFrames()-frame+1)<<19
	rq.Method = http.MethodGet
	rq.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+int64(len(want))-1))
	if answer, err = http.DefaultClient.Do(rq); err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("%s for %s of %d bytes", answer.Status, rq.Header.Get("Range"), in.Size())
	}
	return compare(answer.Body, storage.DigestOf(want))
}

// TestMemoryOfAssociations: 32 associations that all send large instances at
// the same time cost at most 2 MiB each.
func TestMemoryOfAssociations(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory")
	}
	t.Parallel()
	const associations, most = 32, 2 << 20
	dir := t.TempDir()
	roomFor(t, dir, 4<<30)
	node := serve(t, dir, "--settle", "1h", "--log-level", "error")
	if err := bystand(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	idle, _ := node.rss()
	frames := 50
	if testing.Short() {
		frames = 10
	}
	var all sync.WaitGroup
	for i := range associations {
		study := dicomtest.NewStudy(dicomtest.Options{Seed: 1100 + uint64(i), Instances: 1, Frames: frames})
		a, err := associate(t.Context(), node.dimse, 0, study.Instances[0])
		if err != nil {
			t.Fatal(err)
		}
		defer a.Abort()
		all.Go(func() {
			in := study.Instances[0]
			if err := cstore(t.Context(), a, in, in.Reader()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	_, peak := node.rss()
	t.Logf("%d MiB idle, at most %d MiB: %.2f MiB for each of %d associations",
		idle>>20, peak>>20, float64(peak-idle)/associations/(1<<20), associations)
	if peak-idle > associations*most {
		t.Errorf("%d KiB for each association, of at most %d", (peak-idle)/associations>>10, most>>10)
	}
	node.stop()
}
