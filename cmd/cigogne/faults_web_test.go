package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestHostileRequests: each of these is one answer, of the class that is named,
// and nothing that the client wrote becomes a header of it.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--settle", "20ms", "--stall", "2s", "--log-level", "error")
	in := dicomtest.NewStudy(dicomtest.Options{Seed: 60, Modality: "CR", Instances: 1}).Instances[0]
	if _, stored, err := stow(t.Context(), node.web, in.Part10()); err != nil || len(stored) != 1 {
		t.Fatal(err)
	}
	instance := instanceURL("", keyOf(in))
	const stow = "POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\n"
	const related = stow + "Content-Type: multipart/related; type=\"application/dicom\"; boundary=b\r\n"
	const end = "Connection: close\r\n\r\n"
	ask := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + end }
	body := func(b string) string { return fmt.Sprintf("%sContent-Length: %d\r\n%s%s", related, len(b), end, b) }
	for _, c := range []struct {
		name, send string
		want       int // status, or its class
	}{
		{"CR LF in a query", ask("/dicom-web/studies?PatientName=%0d%0aSet-Cookie:%20x=1"), 2},
		{"CR LF in a name", ask("/dicom-web/studies?%0d%0aSet-Cookie:%20x=1"), 400},
		{"CR LF in a path", ask("/dicom-web/studies/%0d%0aSet-Cookie:%20x=1/series"), 4},
		{"CR LF in an Accept", "GET /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAccept: a/b\rSet-Cookie: x=1\r\n" + end, 4},
		{"CR LF in a part header", body("--b\r\nContent-Type: application/dicom\r\r\nSet-Cookie: x\r\n\r\nx\r\n--b--"), 4},
		{"boundary of 64 KB", stow + "Content-Length: 0\r\nContent-Type: multipart/related; boundary=" + strings.Repeat("b", 64<<10) + "\r\n" + end, 4},
		{"boundary of 1 KB", stow + "Content-Length: 0\r\nContent-Type: multipart/related; boundary=" + strings.Repeat("b", 1<<10) + "\r\n" + end, 400},
		{"100,000 part headers", body("--b\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\nx\r\n--b--"), 400},
		// Here net/http waits a little before it closes, as it does not for a client that said 'Connection: close'.
		{"100,000 parts of nothing", strings.Replace(body(strings.Repeat("--b\r\n\r\n\r\n", 100_000)+"--b--"), "Connection: close\r\n", "", 1), 413},
		{"headers of 1 MB", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 1<<20) + "\r\n" + end, 431},
		{"Content-Length and chunks", related + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"two Content-Lengths", related + "Content-Length: 5\r\nContent-Length: 6\r\n" + end + "12345", 400},
		{"Content-Length below 0", related + "Content-Length: -1\r\n" + end, 400},
		{"Content-Length of 10^20", related + "Content-Length: 100000000000000000000\r\n" + end, 400},
		{"Content-Length of 4 GiB, and nothing", related + "Content-Length: 4294967296\r\n" + end, 4},
		{"Content-Length of 2 TiB", related + "Content-Length: 2199023255552\r\n" + end, 413},
		{"body that is gzip", stow + "Content-Type: application/dicom\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n" + end + strings.Repeat("\x1f", 20), 415},
		{"body that is JSON", stow + "Content-Type: application/dicom+json\r\nContent-Length: 2\r\n" + end + "[]", 415},
		{"body of nothing", related + "Content-Length: 0\r\n" + end, 400},
		{"2000 frames", ask(instance + "/frames/1" + strings.Repeat(",1", 1999)), 400},
		{"frame 2^31", ask(instance + "/frames/2147483648"), 4},
		{"viewport of 400000x400000", ask(instance + "/rendered?viewport=400000,400000"), 501},
		{"limit of 10^20", ask("/dicom-web/studies?limit=100000000000000000000"), 400},
		{"offset below 0", ask("/dicom-web/studies?offset=-1"), 400},
		{"range of 10^30", "GET " + instance + " HTTP/1.1\r\nHost: x\r\nAccept: application/dicom\r\nRange: bytes=" + strings.Repeat("9", 30) + "-\r\n" + end, 2}, // one that cannot be read is as if it were not there (RFC 9110 §14.2)
		{"the way up", ask("/dicom-web/studies/../../../etc/passwd"), 0},
		{"the way up, encoded", ask("/%2e%2e/%2e%2e/etc/passwd"), 0},
		// To tell HTTP/2, net/http waits for 14 bytes; more it never reads here, and so would reset the connection behind its answer.
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\xfc\x03\x03\r\n\r\n", 400},
		{"no Host", "GET / HTTP/1.1\r\n" + end, 400},
		{"CONNECT", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n" + end, 4},
		{"DELETE", "DELETE " + instance + " HTTP/1.1\r\nHost: x\r\n" + end, 405}, // there is none of instances
	} {
		t.Run(c.name, func(t *testing.T) {
			whileServing(t, node, func() { expectOneAnswer(t, node, c.send, c.want) })
		})
	}
	checkOne(t, node, keyOf(in), storedDigest(in), "stored")
	node.stop()
}

func expectOneAnswer(t *testing.T, node *process, send string, want int) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(node.web, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go io.WriteString(c, send) // the answer may come before all is sent
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		t.Errorf("the answer breaks off: %v", err)
	}
	got := answer.StatusCode
	switch {
	case want == 0 && (got/100 == 3 || got/100 == 4):
	case want < 10 && got/100 == want, got == want:
	default:
		t.Errorf("%s instead of %d: %s", answer.Status, want, tail(string(b), 200))
	}
	if answer.Header.Get("Set-Cookie") != "" || bytes.Contains(b, []byte("root:")) {
		t.Errorf("%v %s", answer.Header, b)
	}
	if rest, _ := io.ReadAll(io.LimitReader(r, 1<<10)); len(rest) > 0 {
		t.Errorf("and then %q", rest)
	}
}

// TestHostileQuestions: what looks like SQL or like a wildcard of SQL is
// literal; no pattern and no list of UIDs makes anyone wait.
func TestHostileQuestions(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--settle", "1h", "--log-level", "error")
	long := strings.Repeat("a", 60) + "b"
	names := []string{"100%^A", "O_HARA^PAT", "OXHARA^PAT", "DROP' TABLE^X", long + "^Z"}
	for i, name := range names {
		in := dicomtest.NewStudy(dicomtest.Options{Seed: 70 + uint64(i), Modality: "CR", Instances: 1, PatientName: name, PatientID: name})
		if status, _, err := stow(t.Context(), node.web, in.Instances[0].Part10()); err != nil || status != http.StatusOK {
			t.Fatalf("%d, %v", status, err)
		}
	}
	uids := make([]string, 20_000)
	for i := range uids {
		uids[i] = fmt.Sprintf("2.25.%d", 100_000_000_000+i)
	}
	for _, c := range []struct {
		name, key, value string
		want             int // results; -1 means that it may be refused too
	}{
		{"all", "PatientName", "*", 5},
		{"percent", "PatientName", "%", 0},
		{"percent and letter", "PatientName", "%A%", 0},
		{"percent within", "PatientName", "100%*", 1},
		{"underscore", "PatientName", "O_HARA*", 1},
		{"question mark", "PatientName", "O?HARA*", 2},
		{"underscore in a LO", "PatientID", "O_HARA^PAT", 1},
		{"GLOB class", "PatientName", "[A-Z]*", 0},
		{"backslash", "PatientID", `\_*`, 0},
		{"or 1=1", "PatientName", `' OR '1'='1`, 0},
		{"or 1=1 in a UID", "SOPInstanceUID", `1' OR '1'='1`, -1},
		{"drop table", "PatientID", `x'; DROP TABLE study; --`, 0},
		{"quote", "PatientName", "DROP' TABLE*", 1},
		{"union", "StudyDate", "20200101' UNION SELECT 1,2 --", -1},
		{"NUL", "PatientName", "a\x00b", -1},
		{"no UTF-8", "PatientName", "\xff\xfe", -1},
		{"stars", "PatientName", strings.Repeat("*", 5000), -1},
		{"stars and letters", "PatientName", strings.Repeat("*a", 29) + "*c", -1},
		{"many stars and letters", "PatientName", strings.Repeat("*a", 5000) + "c", -1},
		{"stars and question marks", "PatientName", strings.Repeat("*?", 2000) + "c", -1},
		{"5 KB of name", "PatientName", strings.Repeat("a", 5000), -1},
		{"2000 UIDs", "StudyInstanceUID", strings.Join(uids[:2000], ","), 0},
		{"20,000 UIDs", "StudyInstanceUID", strings.Join(uids, ","), -1},
		{"range the wrong way", "StudyDate", "20300101-20200101", -1},
		{"date of letters", "StudyDate", "yesterday", -1},
		{"deep path", strings.TrimRight(strings.Repeat("0040A730.", 500), "."), "x", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			whileServing(t, node, func() { expectResults(t, node, c.key, c.value, c.want) })
		})
	}
	expectResults(t, node, "PatientID", "*", 5) // nothing was dropped
	node.stop()
}

func expectResults(t *testing.T, node *process, key, value string, want int) {
	t.Helper()
	for _, level := range []string{"studies", "instances"} {
		began := time.Now()
		at := node.web + "/dicom-web/" + level + "?" + url.Values{key: {value}}.Encode()
		if want < 0 {
			if status, _ := getStatus(t, at); status/100 != 2 && status/100 != 4 {
				t.Errorf("%s: %d", level, status)
			}
		} else if found, err := search(t.Context(), node.web, level, url.Values{key: {value}}); err != nil || len(found) != want {
			t.Errorf("%s: %d results instead of %d, %v", level, len(found), want, err)
		}
		if took := time.Since(began); took > patience {
			t.Errorf("%s: answered after %v", level, took)
		}
	}
}

func storedDigest(in dicomtest.Instance) storage.Digest { return storage.DigestOf(in.DataSet()) }
