package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// sampledStudies is how many studies are looked at to tell an archive that is
// not the node's, such as the empty folder in which it should be mounted.
const sampledStudies = 32

// refuseForeignArchive stops a node that finds none of its packs: it would put
// new ones beside the archive, and fail to give the others.
func (n *node) refuseForeignArchive(ctx context.Context) error {
	var missing string
	for ds, err := range n.index.Search(ctx, index.Query{Level: index.Study, Limit: sampledStudies}) {
		if err != nil {
			return err
		}
		packs, err := n.index.Packs(ctx, index.Selector{StudyInstanceUID: uidOf(ds)})
		if err != nil {
			return err
		}
		for _, p := range packs {
			if len(p.Copies) == 0 {
				continue
			}
			missing = p.Copies[0].Key
			if _, err := n.archives.Stat(ctx, missing); !errors.Is(err, storage.ErrNotFound) {
				return nil // it is there, or cannot be told now: /readyz will say so
			}
		}
	}
	if missing == "" {
		return nil
	}
	return fmt.Errorf("%w: the archive %s holds none of the packs that the index knows, such as %s: is it mounted?",
		storage.ErrUnavailable, n.archives, missing)
}

// uidOf is the StudyInstanceUID of an answer.
func uidOf(ds dicom.DataSet) string {
	for _, e := range ds {
		if e.Tag == 0x0020000D && len(e.Values) > 0 {
			return e.Values[0]
		}
	}
	return ""
}

// refuseForgottenPacks stops a node whose index holds nothing while the
// archive does: it would serve as if it had never seen those studies.
func (n *node) refuseForgottenPacks(ctx context.Context) error {
	for _, err := range n.index.Search(ctx, index.Query{Level: index.Study, Limit: 1}) {
		if err != nil {
			return err
		}
		return n.refuseForeignArchive(ctx)
	}
	if deleted, err := n.index.Deletions(ctx, 0, 1); err != nil || len(deleted) > 0 {
		return err // there were studies
	}
	for st, err := range n.archives.List(ctx, pack.StudiesPrefix) {
		if errors.Is(err, storage.ErrUnavailable) {
			n.log.Warn("an archive does not answer: whether it holds packs cannot be told now", "error", err)
			return nil
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: there is no index, but the archive holds packs such as %s: run 'cigogne archive rebuild-index --data-dir %s'",
			storage.ErrCorrupt, st.Key, n.config.DataDir)
	}
	return nil
}

// advised adds to an error what to do about what an earlier build wrote.
func advised(err error) error {
	if !errors.Is(err, storage.ErrEarlierDigest) {
		return err
	}
	return fmt.Errorf("%w: nothing of it is damaged, and nothing can be taken over: let that build serve it, fetch the studies with its 'cigogne pull', and push them to a node whose --data-dir and --archive are empty", err)
}
