package gateway

import (
	"context"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Selector names a study, a series of it or an instance of that; the levels
// below the one that is meant are empty.
type Selector struct {
	StudyInstanceUID  string
	SeriesInstanceUID string
	SOPInstanceUID    string
	// Conflicts selects the instances that are kept aside instead.
	Conflicts bool
}

// Instance is an instance that can be read now, wherever it lies.
type Instance interface {
	// About describes it.
	About() storage.Instance
	// Open reads a range of the stored Part 10 form. The Data Set begins at
	// About().Prefix. The reader may implement io.WriterTo to hand a file to
	// the kernel; it must be closed.
	Open(ctx context.Context, r storage.Range) (io.ReadCloser, error)
	// WriteMetadata writes the instance's DICOM JSON object (PS3.18 §F.2)
	// with BulkDataURI values that begin with bulkRoot + "/bulkdata/" and end
	// with a dicom.Bulk Path.
	WriteMetadata(ctx context.Context, w io.Writer, bulkRoot string) error
	// Layout tells where its frames and bulk values lie in the Data Set.
	Layout(ctx context.Context) (*dicom.Layout, error)
}
