package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// journaled is an instance that lies in a journal.
type journaled struct {
	storage.Instance
	at       index.Position
	journals Journals
	// moved finds the instance again when the journal has given its space
	// back since; nil when that cannot happen.
	moved   func(ctx context.Context) (Instance, error)
	over    overlaid
	layouts *layouts
}

func newJournaled(in index.LiveInstance, j Journals) *journaled {
	return &journaled{Instance: in.Instance.Instance, at: in.At, journals: j}
}

// About implements Instance.
func (j *journaled) About() storage.Instance { return j.Instance }

// Open implements Instance.
func (j *journaled) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	body, err := j.journals.Read(ctx, j.at, r)
	if errors.Is(err, storage.ErrNotFound) && j.moved != nil {
		in, err := j.moved(ctx)
		if err != nil {
			return nil, err
		}
		return in.Open(ctx, r)
	}
	return body, err
}

// WriteMetadata implements Instance.
func (j *journaled) WriteMetadata(ctx context.Context, w io.Writer, bulkRoot string) error {
	k, err := j.kept(ctx)
	if errors.Is(err, storage.ErrNotFound) && j.moved != nil {
		in, err := j.moved(ctx)
		if err != nil {
			return err
		}
		return in.WriteMetadata(ctx, w, bulkRoot)
	}
	if err != nil {
		return err
	}
	over, err := j.over.write(ctx, dicom.WithBulkRoot(w, bulkRoot))
	if err != nil {
		return err
	}
	return j.write(ctx, over, k)
}

// writeMetadata writes the DICOM JSON object as it is kept, its BulkDataURI
// values relative.
func (j *journaled) writeMetadata(ctx context.Context, w io.Writer) error {
	k, err := j.kept(ctx)
	if err != nil {
		return err
	}
	return j.write(ctx, w, k)
}

func (j *journaled) write(ctx context.Context, w io.Writer, k *kept) error {
	if k.Metadata != nil {
		_, err := w.Write(k.Metadata)
		return err
	}
	body, err := j.Open(ctx, j.DataSet())
	if err != nil {
		return err
	}
	defer body.Close()
	return dicom.WriteJSON(w, body, j.TransferSyntaxUID, dicom.ScanLimits{})
}

// Layout implements Instance.
func (j *journaled) Layout(ctx context.Context) (*dicom.Layout, error) {
	if known := j.layouts.get(layoutOf(j.Instance)); known != nil {
		return known, nil
	}
	k, err := j.kept(ctx)
	if errors.Is(err, storage.ErrNotFound) && j.moved != nil {
		in, err := j.moved(ctx)
		if err != nil {
			return nil, err
		}
		return in.Layout(ctx)
	}
	if err != nil {
		return nil, err
	}
	l := new(dicom.Layout)
	if err := json.Unmarshal(k.Layout, l); err != nil {
		return nil, fmt.Errorf("%w: instance %s: %w", storage.ErrCorrupt, j.Key.SOPInstanceUID, err)
	}
	j.layouts.put(layoutOf(j.Instance), l)
	return l, nil
}

func (j *journaled) kept(ctx context.Context) (*kept, error) {
	e, err := j.journals.Header(ctx, j.at)
	if err != nil {
		return nil, err
	}
	k, err := decodeKept(e.Header)
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", j.Key.SOPInstanceUID, err)
	}
	return k, nil
}
