package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// atOnce is how many patients are stored and retrieved at the same time.
const atOnce = 64

// TestPatientsAreNeverMixed: 64 senders at a time store the study of a patient
// each, half of them by C-STORE and half by STOW-RS, and retrieve it in every
// way while the others do and while the archiver works. All have the PatientID
// 4711 in common, by twos also the name. Every byte and every attribute that
// anybody gets is of their own patient.
func TestPatientsAreNeverMixed(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--settle", "20ms", "--log-level", "error",
		"--max-associations", strconv.Itoa(atOnce), "--max-associations-per-ae", strconv.Itoa(atOnce), "--max-uploads", strconv.Itoa(atOnce))
	var all errgroup.Group
	for i := range atOnce {
		all.Go(func() error {
			if err := onePatient(t.Context(), node, i); err != nil {
				return fmt.Errorf("patient %d: %w", i, err)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	found, err := search(t.Context(), node.web, "studies", nil)
	if err != nil || len(uids(found)) != atOnce {
		t.Errorf("%d studies, %v", len(found), err)
	}
}

func onePatient(ctx context.Context, node *process, i int) error {
	study := dicomtest.NewStudy(dicomtest.Options{
		Seed: 6400 + uint64(i), Modality: "CR", Instances: 4, PatientID: "4711", PatientName: fmt.Sprintf("PATIENT^%d", i/2),
	})
	for n, in := range study.Instances {
		if i%2 == 0 {
			if _, stored, err := stow(ctx, node.web, fileOf(in)); err != nil || len(stored) != 1 {
				return fmt.Errorf("STOW-RS: %v, %w", stored, err)
			}
		} else if err := storeAlone(ctx, node, in); err != nil {
			return fmt.Errorf("C-STORE: %w", err)
		}
		if err := onlyTheirs(ctx, node, study, n+1); err != nil {
			return fmt.Errorf("after %d instances: %w", n+1, err)
		}
	}
	return nil
}

func storeAlone(ctx context.Context, node *process, in dicomtest.Instance) error {
	a, err := associate(ctx, node.dimse, 1, in)
	if err != nil {
		return err
	}
	return errors.Join(cstore(ctx, a, in, bytes.NewReader(in.DataSet())), a.Release(ctx))
}

// onlyTheirs gets the study in every way and checks all that comes.
func onlyTheirs(ctx context.Context, node *process, study dicomtest.Study, n int) error {
	own := map[string]dicomtest.Instance{}
	for _, in := range study.Instances[:n] {
		own[in.SOPInstanceUID] = in
	}
	found, err := search(ctx, node.web, "instances", url.Values{"StudyInstanceUID": {study.StudyInstanceUID}, "includefield": {"all"}})
	if err != nil || len(found) != n {
		return fmt.Errorf("a search finds %d instances, %w", len(found), err)
	}
	for _, ds := range found {
		in, ok := own[ds.String(0x00080018)]
		if !ok || ds.String(0x0020000D) != study.StudyInstanceUID || ds.String(0x00100010) != study.PatientName || ds.String(0x0020000E) != in.SeriesInstanceUID {
			return fmt.Errorf("a search finds %s", ds.AppendJSON(nil))
		}
	}
	at := node.web + "/dicom-web/studies/" + study.StudyInstanceUID
	return errors.Join(sameBytes(ctx, at, own), sameAttributes(ctx, at+"/metadata", own))
}

// sameBytes retrieves the study as multipart and compares each Data Set.
func sameBytes(ctx context.Context, at string, own map[string]dicomtest.Instance) error {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	rq.Header.Set("Accept", `multipart/related; type="application/dicom"; transfer-syntax=*`)
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, params, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w", answer.Status, err)
	}
	seen := map[string]bool{}
	for parts := multipart.NewReader(answer.Body, params["boundary"]); ; {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("multipart: %w", err)
		}
		file, err := io.ReadAll(part)
		if err != nil {
			return fmt.Errorf("part: %w", err)
		}
		meta, dataSet := splitFile(file)
		in, ok := own[meta[0x03]]
		if !ok || sha256.Sum256(dataSet) != sha256.Sum256(in.DataSet()) {
			return fmt.Errorf("a part with %s: another's bytes", meta[0x03])
		}
		seen[meta[0x03]] = true
	}
	if len(seen) != len(own) {
		return fmt.Errorf("%d of %d instances came", len(seen), len(own))
	}
	return nil
}

// sameAttributes compares the metadata, attribute by attribute.
func sameAttributes(ctx context.Context, at string, own map[string]dicomtest.Instance) error {
	body, err := get(ctx, at, "application/dicom+json")
	if err != nil {
		return err
	}
	defer body.Close()
	var found []dicom.DataSet
	if err := json.NewDecoder(body).Decode(&found); err != nil {
		return err
	}
	for _, ds := range found {
		in, ok := own[ds.String(0x00080018)]
		if !ok {
			return fmt.Errorf("metadata of another's instance: %s", ds.AppendJSON(nil))
		}
		var text strings.Builder
		if err := dicom.WriteJSON(&text, bytes.NewReader(in.DataSet()), in.TransferSyntaxUID, dicom.ScanLimits{}); err != nil {
			return err
		}
		var want dicom.DataSet
		if err := json.Unmarshal([]byte(text.String()), &want); err != nil {
			return err
		}
		// PixelData is a link here and there, and is compared with the bytes.
		if got, want := ds.Without(0x7FE00010), want.Without(0x7FE00010); len(want) < 20 || !reflect.DeepEqual(got, want) {
			return fmt.Errorf("metadata\n%s, want\n%s", got.AppendJSON(nil), want.AppendJSON(nil))
		}
	}
	if len(found) != len(own) {
		return fmt.Errorf("metadata of %d instances, want %d", len(found), len(own))
	}
	return nil
}
