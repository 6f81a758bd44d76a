package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// stow pushes files in one STOW-RS request and returns the status and the
// SOPInstanceUIDs that the answer calls stored.
func stow(ctx context.Context, web string, files ...[]byte) (status int, stored []string, err error) {
	answer, err := answerToSTOW(ctx, web, files...)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	return storedOf(answer)
}

func answerToSTOW(ctx context.Context, web string, files ...[]byte) (*http.Response, error) {
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for _, f := range files {
		part, err := m.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/dicom"}})
		if err != nil {
			return nil, err
		}
		part.Write(f)
	}
	m.Close()
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, web+"/dicom-web/studies", &body)
	if err != nil {
		return nil, err
	}
	rq.Header.Set("Content-Type", `multipart/related; type="application/dicom"; boundary=`+m.Boundary())
	return http.DefaultClient.Do(rq)
}

func storedOf(answer *http.Response) (status int, stored []string, err error) {
	var result dicom.DataSet
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return answer.StatusCode, nil, err
	}
	if err := json.Unmarshal(b, &result); err != nil {
		return answer.StatusCode, nil, fmt.Errorf("%d: %s: %w", answer.StatusCode, b, err)
	}
	if e, ok := result.Get(0x00081199); ok {
		for _, item := range e.Items {
			stored = append(stored, item.String(0x00081155))
		}
	}
	return answer.StatusCode, stored, nil
}

// associate opens an association for instances like these, with an
// asynchronous window.
func associate(ctx context.Context, addr string, window int, like ...dicomtest.Instance) (*dimse.Association, error) {
	config := dimse.SCUConfig{CallingAETitle: "TESTER", CalledAETitle: "CIGOGNE", AsyncWindow: window}
	for _, in := range like {
		config.Contexts = append(config.Contexts, dimse.ProposedContext{
			AbstractSyntax: in.SOPClassUID, TransferSyntaxes: []string{in.TransferSyntaxUID},
		})
	}
	return dimse.Dial(ctx, addr, config)
}

// cstore sends one instance; nil means that the status was success.
func cstore(ctx context.Context, a *dimse.Association, in dicomtest.Instance, dataSet io.Reader) error {
	status, err := a.Store(ctx, dimse.StoreRequest{
		SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID,
		TransferSyntaxUID: in.TransferSyntaxUID, DataSet: dataSet,
	})
	if err == nil && status != dimse.StatusSuccess {
		err = fmt.Errorf("status %v", status)
	}
	return err
}

func instanceURL(web string, k storage.InstanceKey) string {
	return fmt.Sprintf("%s/dicom-web/studies/%s/series/%s/instances/%s", web, k.StudyInstanceUID, k.SeriesInstanceUID, k.SOPInstanceUID)
}

func keyOf(in dicomtest.Instance) storage.InstanceKey {
	return storage.InstanceKey{
		StudyInstanceUID: in.StudyInstanceUID, SeriesInstanceUID: in.SeriesInstanceUID, SOPInstanceUID: in.SOPInstanceUID,
	}
}

// fetch retrieves an instance and returns the digest of its Data Set; one
// that is not there is storage.ErrNotFound.
func fetch(ctx context.Context, web string, k storage.InstanceKey, header ...string) (storage.Digest, error) {
	var digest storage.Digest
	body, err := get(ctx, instanceURL(web, k), "application/dicom", header...)
	if err != nil {
		return digest, err
	}
	defer body.Close()
	r := bufio.NewReaderSize(body, 64<<10)
	if _, err := dicom.ReadPart10(r); err != nil {
		return digest, err
	}
	h := storage.NewDigester()
	_, err = io.Copy(h, r)
	return h.Digest(), err
}

// get asks for a resource, with names and values of more headers; the answer
// must be 200.
func get(ctx context.Context, at, accept string, header ...string) (io.ReadCloser, error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	rq.Header.Set("Accept", accept)
	for i := 0; i < len(header); i += 2 {
		rq.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	why, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if answer.StatusCode == http.StatusNotFound {
		return nil, storage.ErrNotFound
	}
	return nil, errors.Join(fmt.Errorf("%s: %s: %s", at, answer.Status, why), err)
}

// search asks a QIDO-RS question and returns the answers.
func search(ctx context.Context, web, resource string, match url.Values) ([]dicom.DataSet, error) {
	body, err := get(ctx, web+"/dicom-web/"+resource+"?"+match.Encode(), "application/dicom+json")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var found []dicom.DataSet
	return found, json.NewDecoder(body).Decode(&found)
}
