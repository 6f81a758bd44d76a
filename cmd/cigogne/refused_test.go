package main

import (
	"net/http"
	"strings"
	"testing"
)

// TestRefusalsAreWrittenDown: who tries what is not allowed here is in the log,
// whichever way they came.
func TestRefusalsAreWrittenDown(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--log-level", "info")
	for _, path := range []string{"/dicom-web/studies/1.2.1", "/dicom-web/studies/1.2.2/series/3", "/v1/studies/1.2.3", "/custody/studies/1.2.4/retention"} {
		rq, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, node.web+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
	node.stop()
	lines := strings.Split(node.log.String(), "\n")
	for _, study := range []string{"1.2.1", "1.2.2", "1.2.3", "1.2.4"} {
		found := 0
		for _, line := range lines {
			if strings.Contains(line, "msg=audit what=refused") && strings.Contains(line, "studies/"+study) && strings.Contains(line, "by=127.0.0.1:") {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d lines of the log are about %s:\n%s", found, study, node.log)
		}
	}
}
