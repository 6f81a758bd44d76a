package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// stowReason pushes one file as the body of a STOW-RS request and returns the
// FailureReason in the answer, or "".
func stowReason(ctx context.Context, web string, file []byte) (status int, reason string, err error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, web+"/dicom-web/studies", bytes.NewReader(file))
	if err != nil {
		return 0, "", err
	}
	rq.Header.Set("Content-Type", "application/dicom")
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return answer.StatusCode, "", err
	}
	var result dicom.DataSet
	if err := json.Unmarshal(b, &result); err != nil {
		return answer.StatusCode, string(b), nil // it is no Store Instances Response
	}
	for _, sequence := range []dicom.Tag{0x00081198, 0x0008119A} {
		if e, ok := result.Get(sequence); ok && len(e.Items) > 0 {
			return answer.StatusCode, e.Items[0].String(0x00081197), nil
		}
	}
	return answer.StatusCode, "", nil
}
