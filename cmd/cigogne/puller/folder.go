package puller

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/storage"
)

// folderPlace is a folder, in which an instance is the file
// StudyInstanceUID/SeriesInstanceUID/SOPInstanceUID.dcm. Under that name it is
// whole and durable.
type folderPlace struct {
	root   string
	study  string
	plan   *plan
	ledger *ledger
	sync   func(folder string) error // makes its names durable
	above  []string                  // the folder that root lies in, and those it was made with

	mu      sync.Mutex
	folders map[string]bool // made
	ending  *errgroup.Group // makes instances durable
}

// mostEnding bounds the instances that are being made durable.
const mostEnding = 16

func (d *folderPlace) ledgerAt() string {
	return filepath.Join(d.root, "."+d.study+partSuffix+".ledger")
}

func (d *folderPlace) begun() bool {
	for _, path := range []string{d.ledgerAt(), filepath.Join(d.root, d.study)} {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

func (d *folderPlace) path(i int) string {
	in := d.plan.Instances[i]
	return filepath.Join(d.root, d.study, in.SeriesInstanceUID, in.SOPInstanceUID+".dcm")
}

func (d *folderPlace) begin(ctx context.Context, p *plan) ([]bool, []storage.Range, error) {
	if err := d.close(); err != nil {
		return nil, nil, err
	}
	d.plan, d.folders, d.ending = p, map[string]bool{}, new(errgroup.Group)
	d.ending.SetLimit(mostEnding)
	if err := d.makeRoot(); err != nil {
		return nil, nil, err
	}
	l, says, err := openLedger(d.ledgerAt(), p)
	if err != nil {
		return nil, nil, err
	}
	d.ledger = l
	var there []storage.Range
	if says.same {
		there = says.there
	} else if err := l.begin(p, nil); err != nil {
		return nil, nil, err
	}
	whole, err := d.verify(ctx, "", func(int) bool { return true })
	if err != nil {
		return nil, nil, err
	}
	// What was cut between its last byte and its name gets it now.
	parts, err := d.verify(ctx, partSuffix, func(i int) bool { return !whole[i] })
	if err != nil {
		return nil, nil, err
	}
	for i, ok := range parts {
		if ok {
			whole[i] = true
			if err := d.complete(i, func() {}); err != nil {
				return nil, nil, err
			}
		}
	}
	have := []storage.Range{p.rest()}
	for i, ok := range whole {
		if ok {
			have = append(have, p.withGap(i))
		}
	}
	return whole, append(have, d.parts(there, whole)...), nil
}

// makeRoot makes the folder, and those above it that are not there.
func (d *folderPlace) makeRoot() error {
	there := d.above != nil // the study has changed meanwhile
	for path := d.root; !there; path = filepath.Dir(path) {
		above := filepath.Dir(path)
		d.above = append(d.above, above)
		_, err := os.Stat(above)
		there = err == nil || above == path
	}
	return os.MkdirAll(d.root, 0o700)
}

// verify looks which instances are whole in files with this suffix, of those
// that may be.
func (d *folderPlace) verify(ctx context.Context, suffix string, maybe func(i int) bool) ([]bool, error) {
	return verifyAll(ctx, d.plan, func(i int) bool {
		if !maybe(i) {
			return false
		}
		st, err := os.Stat(d.path(i) + suffix)
		return err == nil && st.Size() == d.plan.Instances[i].Size
	}, func(i int) (file, error) { return os.Open(d.path(i) + suffix) })
}

// parts are the ranges, of those that the ledger names, that lie in files
// which are not whole and long enough to hold them.
func (d *folderPlace) parts(there []storage.Range, whole []bool) []storage.Range {
	left := newSpans(d.plan.Size)
	for _, r := range there {
		left.remove(r)
	}
	var have []storage.Range
	for i := range whole {
		in := d.plan.file(i)
		if whole[i] || left.within(in) == in.Length {
			continue
		}
		st, err := os.Stat(d.path(i) + partSuffix)
		if err != nil {
			continue
		}
		kept := newSpans(d.plan.Size)
		kept.remove(storage.Range{Length: in.Offset})
		kept.remove(storage.Range{Offset: min(in.Offset+st.Size(), in.End()), Length: d.plan.Size})
		for _, m := range left.missing {
			kept.remove(m)
		}
		// All of it, and not whole: it is not what it should be.
		if len(kept.missing) == 1 && kept.missing[0] == in {
			continue
		}
		have = append(have, kept.missing...)
	}
	return have
}

func (d *folderPlace) open(i int) (file, error) {
	path := d.path(i)
	folder := filepath.Dir(path)
	d.mu.Lock()
	made := d.folders[folder]
	d.mu.Unlock()
	if !made {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
		d.mu.Lock()
		d.folders[folder] = true
		d.mu.Unlock()
	}
	return os.OpenFile(path+partSuffix, os.O_RDWR|os.O_CREATE, 0o600)
}

func (d *folderPlace) gap([]byte, int64) error { return nil }

// written notes ranges that are long enough to be worth it: others are fetched
// again when their instance is not whole.
func (d *folderPlace) written(r storage.Range) error { return d.ledger.note(r) }

// complete makes an instance durable and gives it its name, while others are
// still fetched.
func (d *folderPlace) complete(i int, kept func()) error {
	path := d.path(i)
	d.ending.Go(func() error {
		f, err := os.OpenFile(path+partSuffix, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		// What lay there before may have been longer.
		if err := f.Truncate(d.plan.Instances[i].Size); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := os.Rename(path+partSuffix, path); err != nil {
			return err
		}
		kept()
		return nil
	})
	return nil
}

func (d *folderPlace) finish(context.Context, bool) error {
	if err := d.ending.Wait(); err != nil {
		return err
	}
	// Those of instances that were there, too: a pull that was killed after it
	// named them synced none.
	folders := map[string]bool{d.root: true, filepath.Join(d.root, d.study): true}
	for i := range d.plan.Instances {
		folders[filepath.Dir(d.path(i))] = true
	}
	for folder := range folders {
		if err := d.sync(folder); err != nil {
			return err
		}
	}
	for _, folder := range d.above { // which may be another's, and hidden
		if err := d.sync(folder); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	err := d.ledger.remove()
	d.ledger = nil
	return err
}

func (d *folderPlace) close() error {
	var errs []error
	if d.ending != nil {
		errs = append(errs, d.ending.Wait())
	}
	if d.ledger != nil {
		errs = append(errs, d.ledger.close())
	}
	d.ending, d.ledger = nil, nil
	return errors.Join(errs...)
}
