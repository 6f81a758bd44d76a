// Package publication leads a study from its last instance into the patient's
// shared record: it decides that the study is complete, makes the manifest of
// each version, gives the study back to who shows the current manifest, and
// brings manifests to the record. What is decided lies in the index, so that
// any node can go on.
package publication

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Searcher answers what there is.
type Searcher interface {
	// Find yields answers in a stable order; an error is the last thing.
	Find(ctx context.Context, q index.Query) iter.Seq2[dicom.DataSet, error]
}

// Retriever locates instances.
type Retriever interface {
	// Instances is storage.ErrNotFound when nothing is selected.
	Instances(ctx context.Context, sel gateway.Selector) ([]gateway.Instance, error)
}

// Storer takes instances.
type Storer interface {
	Receive(ctx context.Context, in gateway.Incoming) (gateway.Pending, error)
}

// Doubter puts a linked identity before a person.
type Doubter interface {
	Doubt(ctx context.Context, local index.PatientKey, by, why string) error
}

// Options are the parts and the settings of publication.
type Options struct {
	Index    *index.Index
	Proposer gateway.Proposer
	Search   Searcher
	Retrieve Retriever
	Store    Storer
	Patients Doubter
	// After is how long nothing of a study must come before it is complete.
	After time.Duration
	// Root is that of the DICOMweb service that manifests name, and
	// Location the UID of the place it is at; see manifest.Manifest.
	Root     func() string
	Location string
	// Structure is who speaks for studies whose site has no identifier.
	Structure manifest.Structure
	// Most is how many instances a manifest may list, at most MostInManifest,
	// which is also the default.
	Most int
	// Lacking is told of each version that has no manifest; nil for nobody.
	Lacking func(Lack)
	// SpoolDir is where manifests of others lie while they come; "" is the
	// system's folder for such files.
	SpoolDir string
	Logger   *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// MostInManifest bounds the instances of a manifest, and with them the memory
// that making it in all its forms takes, some 3 KB for each.
const MostInManifest = 50_000

// Publisher is the use case.
type Publisher struct {
	o Options
}

// New returns a Publisher. Its Run is for one node of a cluster at a time; all
// else may be called on any.
func New(o Options) *Publisher {
	if o.Most <= 0 || o.Most > MostInManifest {
		o.Most = MostInManifest
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Publisher{o: o}
}
