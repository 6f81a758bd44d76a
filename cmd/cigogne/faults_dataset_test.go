package main

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// hostileKey names the instances of package dicomtest that are hostile.
func hostileKey() storage.InstanceKey {
	return storage.InstanceKey{StudyInstanceUID: "2.25.1", SeriesInstanceUID: "2.25.2", SOPInstanceUID: "2.25.3"}
}

// TestHostileDataSets: what no reader may accept is refused over both ways in,
// with C000 and 409, and nothing of it is listed.
func TestHostileDataSets(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--settle", "20ms", "--log-level", "error")
	sets := dicomtest.Lies()
	sets["sequences of undefined length, 10,000 deep"] = dicomtest.NestedUndefined(10_000)
	sets["sequences of defined length, 10,000 deep"] = dicomtest.NestedDefined(10_000)
	sets["sequences of undefined length, 200,000 deep"] = dicomtest.NestedUndefined(200_000)
	sets["text that is cut"] = []byte("\x08\x00\x16\x00UI\x1a\x001.2.840")
	sets["nothing"] = nil
	sets["zeros"] = make([]byte, 1<<20)
	sets["no VR"] = bytes.Repeat([]byte{0xFF}, 100_000)
	for name, b := range sets {
		t.Run(name, func(t *testing.T) {
			whileServing(t, node, func() {
				if got := cstoreStatus(t, node, dicomtest.ExplicitLE, bytes.NewReader(b)); got != dimse.StatusCannotUnderstand {
					t.Errorf("C-STORE: status %s", got)
				}
				expectRefusal(t, node, dicomtest.ExplicitLE, b, http.StatusConflict)
			})
			expectNothing(t, node, hostileKey().StudyInstanceUID)
		})
	}
	t.Run("deflated, 4 MB to 4 GB", func(t *testing.T) {
		bomb := bomb(t, 4<<10)
		if len(bomb) > 5<<20 {
			t.Fatalf("the bomb has %d bytes", len(bomb))
		}
		whileServing(t, node, func() {
			if got := cstoreStatus(t, node, dicomtest.Deflated, bytes.NewReader(bomb)); got != dimse.StatusCannotUnderstand {
				t.Errorf("C-STORE: status %s", got)
			}
			expectRefusal(t, node, dicomtest.Deflated, bomb, http.StatusRequestEntityTooLarge)
		})
		expectNothing(t, node, hostileKey().StudyInstanceUID)
	})
	t.Run("neighbours of a hostile part", func(t *testing.T) {
		study := dicomtest.NewStudy(dicomtest.Options{Seed: 40, Modality: "CR", Instances: 2})
		bad := append(dicomtest.FileMeta(dicomtest.CTImage, "2.25.3", dicomtest.ExplicitLE), dicomtest.NestedUndefined(10_000)...)
		status, stored, err := stow(t.Context(), node.web, study.Instances[0].Part10(), bad, study.Instances[1].Part10())
		if err != nil || status != http.StatusAccepted || len(stored) != 2 {
			t.Errorf("%d, %d stored, %v", status, len(stored), err)
		}
	})
	_, most := node.rss()
	t.Logf("most memory: %d MiB", most>>20)
	node.stop()
}

// cstoreStatus sends what is said to be CT 2.25.3 by C-STORE.
func cstoreStatus(t *testing.T, node *process, syntax string, dataSet io.Reader) dimse.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := associate(ctx, node.dimse, 0, dicomtest.Instance{SOPClassUID: dicomtest.CTImage, TransferSyntaxUID: syntax})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Abort()
	status, err := a.Store(ctx, dimse.StoreRequest{
		SOPClassUID: dicomtest.CTImage, SOPInstanceUID: hostileKey().SOPInstanceUID, TransferSyntaxUID: syntax, DataSet: dataSet,
	})
	if err != nil {
		t.Fatalf("C-STORE: %v", err)
	}
	return status
}

// expectRefusal sends the same by STOW-RS.
func expectRefusal(t *testing.T, node *process, syntax string, dataSet []byte, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	file := append(dicomtest.FileMeta(dicomtest.CTImage, hostileKey().SOPInstanceUID, syntax), dataSet...)
	status, stored, err := stow(ctx, node.web, file)
	if err != nil || status != want || len(stored) > 0 {
		t.Errorf("STOW-RS: %d, %d stored, %v; want %d", status, len(stored), err, want)
	}
}

// bomb is a deflated Data Set that inflates to so many MiB: after the first,
// each MiB is the same thousand bytes.
func bomb(t *testing.T, mib int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	var b dicomtest.Builder
	dicomtest.Identity(&b, dicomtest.CTImage, "2.25.3", "2.25.1", "2.25.2").Header(dicomtest.PixelData, "OW", uint32(min(mib<<20, 0xFFFFFFFE)))
	zeros := make([]byte, 1<<20)
	var marks []int
	for _, p := range [][]byte{b.Bytes(), zeros, zeros} {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		marks = append(marks, out.Len())
	}
	again := bytes.Clone(out.Bytes()[marks[1]:marks[2]])
	for range mib - 2 {
		out.Write(again)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestHostileNames: a UID that is none is refused over both ways in, makes no
// file, and is listed nowhere.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	dir, clean := nest(t)
	node := serve(t, dir, "--settle", "20ms", "--log-level", "error")
	names := []string{
		"../../x", "..", ".", "/etc/passwd", "/tmp/cigogne-x", `..\..\x`, `C:\x`, "1.2\x00.3", "1.2/../../../x", "1.2\n.3",
		strings.Repeat("1", 65), "1..2", "", "1.2 .3", "%2e%2e%2fx", "1.2;rm -rf x", "1.2.\u0663",
	}
	whileServing(t, node, func() {
		for _, uid := range names {
			for place := range 3 {
				key := [3]string{"2.25.1", "2.25.2", "2.25.3"}
				key[place] = uid
				var b dicomtest.Builder
				dicomtest.Identity(&b, dicomtest.CTImage, key[2], key[0], key[1])
				if got := cstoreStatus(t, node, dicomtest.ExplicitLE, bytes.NewReader(b.Bytes())); !got.Failed() {
					t.Errorf("C-STORE of %q: status %s", key, got)
				}
				file := append(dicomtest.FileMeta(dicomtest.CTImage, key[2], dicomtest.ExplicitLE), b.Bytes()...)
				if status, stored, err := stow(t.Context(), node.web, file); err != nil || status != http.StatusConflict || len(stored) > 0 {
					t.Errorf("STOW-RS of %q: %d, %q, %v", key, status, stored, err)
				}
			}
			p := associated(t, node.dimse, "NAMES")
			p.send(fragments(true, 1<<10, storeRQ(uid)))
			p.send(fragments(false, 1<<10, dicomtest.NestedUndefined(1)))
			if got := p.status(); !got.Failed() {
				t.Errorf("AffectedSOPInstanceUID %q: status %s", uid, got)
			}
			p.conn.Close()
			expectNoResource(t, node, uid)
		}
	})
	found, err := search(t.Context(), node.web, "instances", nil)
	if err != nil || len(found) > 0 {
		t.Errorf("%d instances are listed, %v", len(found), err)
	}
	node.stop()
	clean()
	fsck(t, dir)
}

// expectNoResource asks for what a hostile name could lead to.
func expectNoResource(t *testing.T, node *process, uid string) {
	t.Helper()
	at := node.web + "/dicom-web/studies/" + url.PathEscape(uid) + "/series/" + url.PathEscape(uid) + "/instances/" + url.PathEscape(uid)
	rq, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultTransport.RoundTrip(rq) // follows no redirection
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode/100 != 4 && answer.StatusCode/100 != 3 {
		t.Errorf("GET of %q: %s", uid, answer.Status)
	}
}

// TestHostilePixels: attributes that lie about pixels are stored like any
// others; who asks for frames gets those that are there and no byte more.
func TestHostilePixels(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--settle", "20ms", "--log-level", "error")
	in := dicomtest.Instance{SOPClassUID: dicomtest.CTImage, TransferSyntaxUID: dicomtest.ExplicitLE}
	for i, c := range []struct {
		name          string
		frames        string
		rows, columns uint16
		bits          uint16
	}{
		{"Rows and Columns of 65535", "1", 65535, 65535, 16},
		{"2^31-1 frames", "2147483647", 8, 8, 16},
		{"10^12 frames", "1000000000000", 65535, 65535, 65535},
		{"-1 frames", "-1", 8, 8, 16},
		{"no rows", "1", 0, 0, 16},
		{"no bits", "1", 8, 8, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b dicomtest.Builder
			key := storage.InstanceKey{StudyInstanceUID: "2.25.7", SeriesInstanceUID: "2.25.8", SOPInstanceUID: "2.25.9" + string(rune('0'+i))}
			dicomtest.Identity(&b, in.SOPClassUID, key.SOPInstanceUID, key.StudyInstanceUID, key.SeriesInstanceUID)
			b.US(0x00280002, 1).Text(0x00280004, "CS", "PALETTE COLOR").Text(0x00280008, "IS", c.frames)
			b.US(0x00280010, c.rows).US(0x00280011, c.columns).US(0x00280100, c.bits)
			b.Binary(dicomtest.PixelData, "OW", make([]byte, 256))
			whileServing(t, node, func() {
				status, stored, err := stow(t.Context(), node.web, append(dicomtest.FileMeta(in.SOPClassUID, key.SOPInstanceUID, in.TransferSyntaxUID), b.Bytes()...))
				if err != nil || status != http.StatusOK || len(stored) != 1 {
					t.Fatalf("%d, %v", status, err)
				}
				expectFrames(t, node, key)
			})
		})
	}
	node.stop()
}

func expectFrames(t *testing.T, node *process, key storage.InstanceKey) {
	t.Helper()
	for path, want := range map[string]int{
		"/frames/2147483648": 4, "/frames/0": 4, "/frames/-1": 4, "/frames/1000000": 4, "/frames/99999999999999999999": 4,
		"/frames/" + strings.TrimRight(strings.Repeat("1,", 2000), ","): 4,
		"/rendered": 5, "/frames/1/rendered": 5, "/rendered?viewport=400000,400000": 5,
	} {
		if status, n := getStatus(t, instanceURL(node.web, key)+path); status/100 != want || n > 4<<10 {
			t.Errorf("%s: %d with %d bytes", path, status, n)
		}
	}
	if status, n := getStatus(t, instanceURL(node.web, key)+"/frames/1"); status/100 != 4 && n > 1<<10 {
		t.Errorf("/frames/1: %d with %d bytes", status, n)
	}
	body, err := get(t.Context(), instanceURL(node.web, key), "application/dicom")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Error(err)
	}
}

// getStatus is the status of an answer and the length of its body.
func getStatus(t *testing.T, at string) (status int, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	n, err = io.Copy(io.Discard, answer.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	return answer.StatusCode, n
}

// TestRetryAfterKill: who got no answer sends again, and there is one instance
// all the same.
func TestRetryAfterKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 41, Modality: "CR", Instances: 3})
	node := serve(t, dir, "--log-level", "error")
	l := newLedger()
	for round := range 3 {
		for i, in := range study.Instances {
			b := l.send(in)
			if (i+round)%2 == 0 {
				if status, stored, err := stow(t.Context(), node.web, in.Part10()); err != nil || status != http.StatusOK || len(stored) != 1 {
					t.Fatalf("%d, %v", status, err)
				}
				continue
			}
			a, err := associate(t.Context(), node.dimse, 0, in)
			if err != nil {
				t.Fatal(err)
			}
			if err := cstore(t.Context(), a, in, bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
			a.Abort()
		}
		node.kill()
		node = serve(t, dir, "--settle", "20ms", "--log-level", "error")
	}
	node.archived()
	found, err := search(t.Context(), node.web, "studies", url.Values{"includefield": {"NumberOfStudyRelatedInstances"}})
	if err != nil || len(found) != 1 || found[0].String(0x00201208) != "3" {
		t.Errorf("%v, %v", found, err)
	}
	if got := metric(t, node, `cigogne_index_held{kind="conflicts"}`); got != "0" {
		t.Errorf("%s conflicts", got)
	}
	for _, in := range study.Instances {
		checkOne(t, node, keyOf(in), l.sent[keyOf(in)], "sent again")
	}
	node.stop()
	fsck(t, dir)
}
