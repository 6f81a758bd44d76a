package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// patience is how long anyone may have to wait for an answer, whatever others
// do to the node, and to the machine; memoryLimit is what the node may hold all
// the while.
const (
	patience    = time.Minute
	memoryLimit = 200 << 20
)

// whileServing runs something hostile, and fails the test unless another
// client is served before, during and after, and memory stays bounded.
func whileServing(t *testing.T, node *process, hostile func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for ctx.Err() == nil {
			if err := bystand(t.Context(), node); err != nil {
				t.Errorf("a bystander is not served: %v", err)
				return
			}
			select {
			case <-ctx.Done():
			case <-pace.C:
			}
		}
	})
	defer func() {
		stop()
		watching.Wait()
		if err := bystand(t.Context(), node); err != nil {
			t.Errorf("afterwards a bystander is not served: %v", err)
		}
		if _, most := node.rss(); most > memoryLimit {
			t.Errorf("%d MiB of memory, of at most %d", most>>20, memoryLimit>>20)
		}
		if t.Failed() {
			t.Logf("the node's log:\n%s", tail(node.log.String(), 4000))
		}
	}()
	hostile()
}

// bystand is one C-ECHO and one search.
func bystand(ctx context.Context, node *process) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := dimse.Dial(ctx, node.dimse, dimse.SCUConfig{
		CallingAETitle: "BYSTANDER", CalledAETitle: "CIGOGNE",
		Contexts: []dimse.ProposedContext{{AbstractSyntax: dimse.Verification, TransferSyntaxes: []string{dicomtest.ImplicitLE}}},
	})
	if err != nil {
		return err
	}
	defer a.Abort()
	if status, err := a.Echo(ctx); err != nil || status != dimse.StatusSuccess {
		return fmt.Errorf("C-ECHO: %s, %w", status, err)
	}
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, node.web+"/dicom-web/studies?limit=1", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusNoContent {
		return fmt.Errorf("search: %s", answer.Status)
	}
	return nil
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// nest returns a data directory some folders below an empty one, and a check
// that nothing was written beside it, nor in it under a name that a peer made
// up.
func nest(t *testing.T) (dir string, clean func()) {
	t.Helper()
	root := t.TempDir()
	dir = filepath.Join(root, "a", "b", "node")
	ours := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	return dir, func() {
		t.Helper()
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) { // the node works on
				return nil
			}
			if err != nil || path == root {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			in, relErr := filepath.Rel(dir, path)
			outside := relErr != nil || len(in) > 1 && in[:2] == ".."
			if outside && name != "a" && name != filepath.Join("a", "b") {
				t.Errorf("%s was made outside of the data directory", name)
			}
			if !ours.MatchString(d.Name()) && d.Name()[0] != '.' {
				t.Errorf("%s is not a name of ours", name)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
