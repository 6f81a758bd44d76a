package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
)

// TestPackCompression sends real images by storescu with each setting. They
// come back from their packs bit for bit, as do ranges, frames and the pixel
// data of them, after a restart with another setting and after a rebuild, too.
func TestPackCompression(t *testing.T) {
	if testing.Short() {
		t.Skip("compresses much")
	}
	t.Parallel()
	storescu := tool(t, "storescu")
	series := filepath.Join(dicomDir(t), "series", "mr-ge-epi-150")
	multi := filepath.Join(dicomDir(t), "modality", "d2n--philips_enhanced-fmri-IM-0001-9600-0001.dcm")
	files, total := readSeries(t, series)
	frames, err := readReal(dicomDir(t), multi)
	if err != nil {
		t.Fatal(err)
	}
	total += int64(len(frames.whole))
	for _, compression := range []string{"none", "deflate", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			if testing.Short() && compression != "zstd" {
				t.Skip("one setting is enough")
			}
			flags := []string{"--settle", "50ms", "--log-level", "error", "--pack-compression"}
			dir := t.TempDir()
			node := serve(t, dir, append(flags, compression)...)
			host, port := node.hostPort()
			mustRun(t, storescu, "-aec", "CIGOGNE", "-R", "+sd", "+r", host, port, series)
			mustRun(t, storescu, "-aec", "CIGOGNE", "-R", host, port, multi)
			node.archived()
			whole := append(files, frames)
			allComeBack(t, node, whole)
			partsComeBack(t, node, frames)
			size := sizeOf(t, packsIn(t, filepath.Join(dir, "archive")))
			t.Logf("%d bytes lie in packs of %d", total, size)
			if compression == "none" != (size > total*3/4) {
				t.Errorf("%d bytes lie in packs of %d", total, size)
			}
			node.stop()
			fsck(t, dir)

			node = serve(t, dir, append(flags, map[string]string{"none": "zstd", "deflate": "none", "zstd": "deflate"}[compression])...)
			allComeBack(t, node, whole)
			node.stop()
			removeIndex(t, dir)
			if out, err := command(t.Context(), "archive", "rebuild-index", "--data-dir", dir).CombinedOutput(); err != nil {
				t.Fatalf("rebuild: %v\n%s", err, out)
			}
			fsck(t, dir)
			node = serve(t, dir, append(flags, compression)...)
			allComeBack(t, node, whole)
			partsComeBack(t, node, frames)
		})
	}
}

func sizeOf(t *testing.T, paths []string) (total int64) {
	t.Helper()
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	return total
}

// partsComeBack asks for what lies within a file's instance.
func partsComeBack(t *testing.T, node *process, f *realFile) {
	t.Helper()
	at := instanceURL(node.web, f.key)
	pixels := partOf(t, at+"/bulkdata/7FE00010", "")
	if len(pixels) < 100_000 || !bytes.Contains(f.dataSet, pixels) {
		t.Errorf("%d bytes of pixel data came, which are not in the file", len(pixels))
	}
	var all []byte
	for n := 1; len(all) < len(pixels); n++ {
		frame := partOf(t, fmt.Sprintf("%s/frames/%d", at, n), "")
		if len(frame) == 0 {
			t.Fatalf("frame %d is empty", n)
		}
		all = append(all, frame...)
	}
	if !bytes.Equal(all, pixels) {
		t.Errorf("%d bytes of frames came, which are not the pixel data", len(all))
	}
	for _, r := range []storage.Range{{Length: 1}, {Offset: 1000, Length: 70_000}, {Offset: int64(len(pixels)) - 3, Length: 3}} {
		got := partOf(t, at+"/bulkdata/7FE00010", fmt.Sprintf("bytes=%d-%d", r.Offset, r.End()-1))
		if !bytes.Equal(got, pixels[r.Offset:r.End()]) {
			t.Errorf("%d bytes came, not those of %+v", len(got), r)
		}
	}
}

// partOf is the body at a URL, or a range of it.
func partOf(t *testing.T, url, rng string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/octet-stream")
	want := http.StatusOK
	if rng != "" {
		r.Header.Set("Range", rng)
		want = http.StatusPartialContent
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != want {
		t.Fatalf("%s %s: %d, %v", url, rng, answer.StatusCode, err)
	}
	return body
}
