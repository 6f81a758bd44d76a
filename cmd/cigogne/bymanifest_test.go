package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/gateway/dmp/publication"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// drimAccept is the Accept that gateways of the national programme send: one
// long line, each transfer syntax with its q, and a comma at the end.
const drimAccept = `multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.70; q=0.9; boundary=**,` +
	`multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.80; q=0.8; boundary=**,` +
	`multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.91; q=0.6; boundary=**,` +
	`multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50; q=0.5; boundary=**,` +
	`multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1; q=0.4; boundary=**,` +
	`multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1; q=0.4; boundary=**,`

// shown is a request of who shows a manifest.
type shown struct{ token, kos, accept string }

// byManifest retrieves below the root of manifests.
func byManifest(ctx context.Context, node *process, path string, s shown) (int, []byte, http.Header, error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, node.web+manifestRoot+path, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	for name, value := range map[string]string{"Authorization": s.token, publication.HeaderKOS: s.kos, "Accept": s.accept} {
		if value != "" {
			rq.Header.Set(name, value)
		}
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return 0, nil, nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, b, answer.Header, err
}

// sumsOf are the digests of the parts of a multipart answer, sorted.
func sumsOf(body []byte, header http.Header) (sums []string, err error) {
	_, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	for parts := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		p, err := parts.NextPart()
		if err == io.EOF {
			slices.Sort(sums)
			return sums, nil
		}
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		if _, err := io.Copy(h, p); err != nil {
			return nil, err
		}
		sums = append(sums, hex.EncodeToString(h.Sum(nil)))
	}
}

// published is a node with a study of a linked patient, and its manifest.
func published(t *testing.T, study dicomtest.Study, flags ...string) (*process, string) {
	t.Helper()
	node := serve(t, t.TempDir(), append([]string{"--sites", region(t), "--settle", "20ms", "--complete-after", "300ms", "--allow-delete", "--log-level", "warn"}, flags...)...)
	sendAs(t, node, "HTP_PACS", study, "F")
	node.identities(http.MethodPut, "/local/1.2.250.1.999.1/4711", asserted(nir, "MULLER"), http.StatusOK)
	var kos string
	node.eventually("manifest", func() bool {
		l := lifeOf(t, node, study.StudyInstanceUID)
		kos = l.ManifestSopInstanceUid
		return !l.Open && l.ManifestMade
	})
	return node, kos
}

// TestByManifest: who shows the current manifest of a study retrieves it, a
// series, an instance, a frame, and nothing with any other.
func TestByManifest(t *testing.T) {
	t.Parallel()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9301, Modality: "CR", Instances: 3, PatientID: "4711", PatientName: "Muller^Odile"})
	late := study
	study.Instances, late.Instances = study.Instances[:2], study.Instances[2:]
	node, kos := published(t, study)
	in := study.Instances[0]
	whole := "/studies/" + study.StudyInstanceUID
	series := whole + "/series/" + in.SeriesInstanceUID
	instance := series + "/instances/" + in.SOPInstanceUID
	good := shown{"Bearer haguenau's token", kos, drimAccept}
	try := func(what, path string, s shown, want int) ([]byte, http.Header) {
		t.Helper()
		status, body, header, err := byManifest(t.Context(), node, path, s)
		if err != nil || status != want {
			t.Errorf("%s: %d, want %d (%v): %.200s", what, status, want, err, body)
		}
		return body, header
	}
	for path, parts := range map[string]int{whole: 2, series: 2, instance: 1, instance + "/frames/1": 1} {
		body, header := try(path, path, good, http.StatusOK)
		if sums, err := sumsOf(body, header); err != nil || len(sums) != parts {
			t.Errorf("%s: %d parts, want %d: %v", path, len(sums), parts, err)
		}
	}
	own := manifest.Manifest{Study: manifest.Study{StudyInstanceUID: study.StudyInstanceUID}}
	try("the manifest itself", whole+"/series/"+own.SeriesInstanceUID()+"/instances/"+kos, good, http.StatusOK)
	for _, c := range []struct {
		what string
		path string
		s    shown
		want int
	}{
		{"no token", whole, shown{"", kos, drimAccept}, http.StatusUnauthorized},
		{"another token", whole, shown{"Bearer x", kos, drimAccept}, http.StatusUnauthorized},
		{"no Accept", whole, shown{good.token, kos, " "}, http.StatusBadRequest},
		{"an Accept of commas", whole, shown{good.token, kos, ",, ,"}, http.StatusBadRequest},
		{"no manifest", whole, shown{good.token, "", drimAccept}, http.StatusBadRequest},
		{"no UID", whole, shown{good.token, "../x", drimAccept}, http.StatusBadRequest},
		{"another manifest", whole, shown{good.token, "2.25.4711", drimAccept}, http.StatusNotFound},
		{"another study", "/studies/2.25.1", good, http.StatusNotFound},
		{"an instance that is not there", series + "/instances/2.25.1", good, http.StatusNotFound},
		{"a search", "/studies", good, http.StatusNotFound},
		{"metadata", whole + "/metadata", good, http.StatusNotFound},
		{"another transfer syntax", whole, shown{good.token, kos, `multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.80`}, http.StatusNotAcceptable},
	} {
		try(c.what, c.path, c.s, c.want)
	}

	sendAs(t, node, "HTP_PACS", late, "F")
	var next string
	node.eventually("next version", func() bool {
		l := lifeOf(t, node, study.StudyInstanceUID)
		next = l.ManifestSopInstanceUid
		return !l.Open && l.ManifestMade && next != kos
	})
	try("the manifest before", whole, good, http.StatusGone)
	good.kos = next
	try("the manifest now", whole, good, http.StatusOK)
	resolves(t, node, study.StudyInstanceUID, kos, next)

	node.cigogne(exitOK, "retention", "set", "0", "-r", "a test")
	node.cigogne(exitOK, "delete", study.StudyInstanceUID, "-r", "a test")
	try("deleted", whole, good, http.StatusGone)
}

// resolves asks what of two manifests of a study, as they are stored, can be
// had.
func resolves(t *testing.T, node *process, study, before, now string) {
	t.Helper()
	own := manifest.Manifest{Study: manifest.Study{StudyInstanceUID: study}}
	at := "/dicom-web/studies/" + study + "/series/" + own.SeriesInstanceUID() + "/instances/"
	for kos, standing := range map[string]string{before: "replaced", now: "current"} {
		body, err := get(t.Context(), node.web+at+kos, "application/dicom")
		if err != nil {
			t.Fatal(err)
		}
		answer, status := resolve(t, node, body, "application/dicom")
		body.Close()
		if status != http.StatusOK || answer.Standing != standing || answer.Held != answer.Listed || answer.Held == 0 ||
			answer.Manifest != now || len(answer.Series) != 1 || answer.Series[0].TransferSyntaxUIDs[0] != dicomtest.ExplicitLE {
			t.Errorf("%s: %d, %+v", standing, status, answer)
		}
		if status, _, _, err := byManifest(t.Context(), node, strings.TrimPrefix(answer.Series[0].URL, node.web+manifestRoot),
			shown{"Bearer haguenau's token", answer.Manifest, drimAccept}); err != nil || status != http.StatusOK {
			t.Errorf("as it was told: %d, %v", status, err)
		}
	}
	foreign := `{"resourceType":"ImagingStudy","identifier":[{"system":"urn:dicom:uid","value":"urn:oid:` + study + `"}],"subject":{"identifier":{"value":"%s"}},
		"contained":[{"resourceType":"Endpoint","address":"https://elsewhere.example/wado/"}],"series":[{"uid":"2.25.5","instance":[{"uid":"2.25.6"}]}]}`
	answer, status := resolve(t, node, strings.NewReader(fmt.Sprintf(foreign, odiles)), "application/fhir+json")
	if status != http.StatusOK || answer.Standing != "unknown" || answer.Held != 0 || len(answer.Series) != 1 ||
		answer.Series[0].Elsewhere != "https://elsewhere.example/wado/studies/"+study+"/series/2.25.5" {
		t.Errorf("another gateway's: %d, %+v", status, answer)
	}
	for what, c := range map[string]struct {
		body, media string
		want        int
	}{
		"another patient's": {fmt.Sprintf(foreign, "162018885045327"), "application/fhir+json", http.StatusConflict},
		"no manifest":       {"x", "application/dicom", http.StatusBadRequest},
		"another media":     {"x", "text/plain", http.StatusUnsupportedMediaType},
	} {
		if _, status := resolve(t, node, strings.NewReader(c.body), c.media); status != c.want {
			t.Errorf("%s: %d, want %d", what, status, c.want)
		}
	}
}

func resolve(t *testing.T, node *process, body io.Reader, media string) (answer publication.Resolved, status int) {
	t.Helper()
	rq, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.web+resolvePath, body)
	if err != nil {
		t.Fatal(err)
	}
	rq.Header.Set("Content-Type", media)
	got, err := http.DefaultClient.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if err := json.NewDecoder(got.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer, got.StatusCode
}

// TestByManifestOfSomebodyElse: who shows the manifest of a study that was
// linked with somebody else before is not given that person's manifest, nor is
// who wants all of the study.
func TestByManifestOfSomebodyElse(t *testing.T) {
	t.Parallel()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9503, Modality: "CR", Instances: 1, PatientID: "4711", PatientName: "Muller^Odile"})
	node, before := published(t, study)
	node.identities(http.MethodDelete, "/local/1.2.250.1.999.1/4711?reason=somebody+else", "", http.StatusOK)
	node.identities(http.MethodPut, "/local/1.2.250.1.999.1/4711", strings.Replace(asserted(nia, "MULLER"), odiles, "162018885045327", 1), http.StatusOK)
	var now string
	node.eventually("manifest of the other", func() bool {
		l := lifeOf(t, node, study.StudyInstanceUID)
		now = l.ManifestSopInstanceUid
		return !l.Open && l.ManifestMade && now != before
	})
	body, err := get(t.Context(), node.web+"/dicom-web/studies/"+study.StudyInstanceUID+"/metadata", "application/dicom+json")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	all, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	for sop, want := range map[string]bool{study.Instances[0].SOPInstanceUID: true, now: true, before: false} {
		if got := strings.Contains(string(all), `{"vr":"UI","Value":["`+sop+`"]}`); got != want {
			t.Errorf("all of the study has %s: %v, want %v", sop, got, want)
		}
	}
	own := manifest.Manifest{Study: manifest.Study{StudyInstanceUID: study.StudyInstanceUID}}
	shows(t, node, study, own.SeriesInstanceUID(), before, now)
	node.archived()
	shows(t, node, study, own.SeriesInstanceUID(), before, now)
	for kos, want := range map[string]int{now: http.StatusOK, before: http.StatusNotFound} {
		path := "/studies/" + study.StudyInstanceUID + "/series/" + own.SeriesInstanceUID() + "/instances/" + kos
		if status, _, _, err := byManifest(t.Context(), node, path, shown{"Bearer haguenau's token", now, drimAccept}); err != nil || status != want {
			t.Errorf("%s by %s: %d, want %d, %v", kos, now, status, want, err)
		}
	}
}

// shows fails unless searches show of a study's manifests the one that stands,
// and count it alone, and find the one before by its name.
func shows(t *testing.T, node *process, study dicomtest.Study, series, before, now string) {
	t.Helper()
	of := node.web + "/dicom-web/studies/" + study.StudyInstanceUID
	for _, c := range []struct {
		query string
		tag   string
		want  []string
	}{
		{of + "/instances", "00080018", []string{study.Instances[0].SOPInstanceUID, now}},
		{of + "/series/" + series + "/instances", "00080018", []string{now}},
		{of + "/instances?SOPInstanceUID=" + before, "00080018", []string{before}},
		{of + "/series?SeriesInstanceUID=" + series, "00201209", []string{"1"}},
		{node.web + "/dicom-web/studies?StudyInstanceUID=" + study.StudyInstanceUID, "00201208", []string{"2"}},
	} {
		body, err := get(t.Context(), c.query, "application/dicom+json")
		if err != nil {
			t.Fatal(err)
		}
		var answers []map[string]struct{ Value []any }
		err = json.NewDecoder(body).Decode(&answers)
		body.Close()
		var got []string
		for _, a := range answers {
			got = append(got, fmt.Sprint(a[c.tag].Value...))
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q, %v", c.query, got, c.want, err)
		}
	}
}

// TestByManifestConcurrently: 1,000 retrievals of a study at a time, each by
// its manifest, and each whole.
func TestByManifestConcurrently(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a machine to itself")
	}
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9401, Modality: "CR", Instances: 20, PatientID: "4711", PatientName: "Muller^Odile"})
	node, kos := published(t, study, "--max-connections", "1100")
	node.archived()
	path, s := "/studies/"+study.StudyInstanceUID, shown{"Bearer haguenau's token", kos, drimAccept}
	_, body, header, err := byManifest(t.Context(), node, path, s)
	if err != nil {
		t.Fatal(err)
	}
	want, err := sumsOf(body, header)
	if err != nil || len(want) != len(study.Instances) {
		t.Fatalf("%d parts, %v", len(want), err)
	}
	const most = 1000
	began, took := time.Now(), make([]time.Duration, most)
	var all sync.WaitGroup
	for i := range most {
		all.Go(func() {
			status, body, header, err := byManifest(t.Context(), node, path, s)
			took[i] = time.Since(began)
			if err != nil || status != http.StatusOK {
				t.Errorf("%d: %v", status, err)
				return
			}
			if got, err := sumsOf(body, header); err != nil || !slices.Equal(got, want) {
				t.Errorf("%d parts of %d: %v", len(got), len(want), err)
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	t.Logf("%d retrievals of %d bytes at a time: half within %v, 99%% within %v, all within %v", most, len(body), took[most/2], took[most*99/100], took[most-1])
}

// TestByManifestOfWhoOpposes: who opposes is not shown by a manifest that was
// brought to the shared record before.
func TestByManifestOfWhoOpposes(t *testing.T) {
	t.Parallel()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9501, Modality: "CR", Instances: 1, PatientID: "4711", PatientName: "Muller^Odile"})
	node, kos := published(t, study)
	s := shown{"Bearer haguenau's token", kos, drimAccept}
	for _, c := range []struct {
		is   string
		want int
	}{{"", http.StatusOK}, {"opposed", http.StatusGone}} {
		if c.is != "" {
			node.identities(http.MethodPut, "/oppositions/1.2.250.1.999.1/4711?reason=said+so", "", http.StatusOK)
		}
		if status, _, _, err := byManifest(t.Context(), node, "/studies/"+study.StudyInstanceUID, s); err != nil || status != c.want {
			t.Errorf("%s: %d, want %d (%v)", c.is, status, c.want, err)
		}
	}
}

// TestByManifestWhatItLists: what came after a manifest is not given to who
// shows it: nobody has looked yet whether it is the same person's.
func TestByManifestWhatItLists(t *testing.T) {
	t.Parallel()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 9502, Modality: "CR", Instances: 2, PatientID: "4711", PatientName: "Muller^Odile"})
	late := study
	study.Instances, late.Instances = study.Instances[:1], study.Instances[1:]
	node := serve(t, t.TempDir(), "--sites", region(t), "--settle", "20ms", "--complete-after", "1h", "--log-level", "warn")
	node.identities(http.MethodPut, "/local/1.2.250.1.999.1/4711", asserted(nir, "MULLER"), http.StatusOK)
	sendAs(t, node, "HTP_PACS", study, "F")
	if _, err := pb.NewStudiesClient(dial(t, node)).Complete(t.Context(), &pb.StudiesCompleteRequest{StudyInstanceUid: study.StudyInstanceUID, By: "a test"}); err != nil {
		t.Fatal(err)
	}
	s := shown{"Bearer haguenau's token", awaitVersion(t, node, study.StudyInstanceUID, 1, true).ManifestSopInstanceUid, drimAccept}
	sendAs(t, node, "HTP_PACS", late, "F")
	node.archived()
	for path, want := range map[string]int{"": http.StatusOK, "/series/" + late.Instances[0].SeriesInstanceUID + "/instances/" + late.Instances[0].SOPInstanceUID: http.StatusNotFound} {
		status, body, header, err := byManifest(t.Context(), node, "/studies/"+study.StudyInstanceUID+path, s)
		if err != nil || status != want {
			t.Errorf("%q: %d, want %d, %v", path, status, want, err)
		}
		if status != http.StatusOK {
			continue
		}
		if sums, err := sumsOf(body, header); err != nil || len(sums) != 1 {
			t.Errorf("%d parts of the 1 that the manifest lists: %v", len(sums), err)
		}
	}
}
