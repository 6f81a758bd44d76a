package tracing

import (
	"errors"
	"testing"
)

// TestCheck: what names a collector is taken, and nothing else; what may hold a
// secret is not repeated.
func TestCheck(t *testing.T) {
	for _, good := range []string{"", "http://collector:4318", "https://collector", "https://collector/v1/traces", "grpc://collector:4317", "grpcs://collector:4317/"} {
		if err := Check(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"collector:4318", "ftp://collector", "http://user:secret@collector:4318", "http://collector:4318/?key=secret", "grpc://collector", "grpc://collector:4317/path"} {
		if err := Check(bad); !errors.Is(err, errURL) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
