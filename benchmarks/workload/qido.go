package workload

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
	"github.com/esante-alsace/cigogne/benchmarks/result"
	"github.com/esante-alsace/cigogne/benchmarks/subject"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// region is the population whose studies are queried.
func region() indextest.Population {
	return indextest.Population{Seed: 7, MaxSeries: 2, MaxInstances: 2}
}

// applied is how many studies of an index are applied at the most. A larger
// one is made of theirs: a million would take eight minutes, ten millions hours.
const applied = 250_000

// fillIndex writes an index of n archived studies where a node looks for it.
// Of the packs that it names some are there, empty, so that the node believes
// the archive to be its own: queries of studies never open one.
func fillIndex(n int) func(ctx context.Context, dir string) error {
	return func(ctx context.Context, dir string) error {
		at := filepath.Join(dir, "data", "index")
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		path := filepath.Join(at, "index.db")
		if err := fillFile(ctx, n, path); err != nil {
			return err
		}
		x, err := index.Open(ctx, index.Options{Path: path})
		if err != nil {
			return err
		}
		defer x.Close()
		if err := placePacks(ctx, x, filepath.Join(dir, "data", "archive")); err != nil {
			return err
		}
		return x.Sync(ctx)
	}
}

// fillFile writes an index of n archived studies; beyond those that are
// applied n is a multiple of them.
func fillFile(ctx context.Context, n int, path string) error {
	times := max(1, n/applied)
	if times > 1 && n%applied != 0 {
		return fmt.Errorf("an index of %d studies: more than %d must be a multiple of them", n, applied)
	}
	if times > 1 {
		part := path + ".part"
		defer index.Discard(part) //nolint:errcheck // the directory goes at the end
		if err := fillFile(ctx, applied, part); err != nil {
			return err
		}
		return indextest.Multiply(ctx, part, path, region(), applied, times)
	}
	x, err := index.Open(ctx, index.Options{Path: path})
	if err != nil {
		return err
	}
	defer x.Close()
	if err := fill(ctx, x, n); err != nil {
		return err
	}
	return x.Close()
}

// fill applies n studies in the order of their dates, in which a region's come,
// too: in another one nearly every row is written to another page. They are
// made on another processor meanwhile.
func fill(ctx context.Context, x *index.Index, n int) error {
	const perBatch = 1000
	order := chronological(n)
	work, ctx := errgroup.WithContext(ctx)
	batches := make(chan index.Batch, 2)
	work.Go(func() error {
		defer close(batches)
		for some := range slices.Chunk(order, perBatch) {
			var b index.Batch
			for _, study := range some {
				b.Adopted = append(b.Adopted, adopted(region().Study(int(study)))...)
			}
			select {
			case batches <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	work.Go(func() error {
		for b := range batches {
			if _, err := x.Apply(ctx, b); err != nil {
				return err
			}
		}
		return nil
	})
	return work.Wait()
}

// chronological are the numbers of n studies in the order of their days.
func chronological(n int) []uint32 {
	days := make([]uint16, n)
	var from [indextest.Days + 1]uint32
	for i := range days {
		days[i] = uint16(region().Day(i))
		from[days[i]+1]++
	}
	for d := range indextest.Days {
		from[d+1] += from[d]
	}
	order := make([]uint32, n)
	for i, d := range days {
		order[from[d]] = uint32(i)
		from[d]++
	}
	return order
}

// placedStudies is how many studies, of those that a query yields first, have
// their packs in the archive.
const placedStudies = 100

func placePacks(ctx context.Context, x *index.Index, archive string) error {
	for set, err := range x.Search(ctx, index.Query{Level: index.Study, Limit: placedStudies}) {
		if err != nil {
			return err
		}
		packs, err := x.Packs(ctx, index.Selector{StudyInstanceUID: value(set, studyInstanceUID)})
		if err != nil {
			return err
		}
		for _, p := range packs {
			path := filepath.Join(archive, filepath.FromSlash(p.Copies[0].Key))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// adopted is a study as packs of an archive, one for each series.
func adopted(study []index.Instance) []index.AdoptedPack {
	var packs []index.AdoptedPack
	last := ""
	for _, in := range study {
		in.At = index.Position{}
		if in.Key.SeriesInstanceUID != last {
			last = in.Key.SeriesInstanceUID
			id := strings.ReplaceAll(last, ".", "")
			packs = append(packs, index.AdoptedPack{Pack: index.PackArchive{
				PackID: id, Archive: "dir:///nowhere", At: in.Received, Size: 1 << 20,
				Key: "studies/" + in.Key.StudyInstanceUID + "/" + last + "/" + id + ".zip",
			}})
		}
		p := &packs[len(packs)-1]
		p.Instances = append(p.Instances, in)
	}
	return packs
}

// sendIndex stores the same studies in a peer, as instances without pixels.
func sendIndex(n int) func(ctx context.Context, at subject.Endpoints) error {
	return func(ctx context.Context, at subject.Endpoints) error {
		dir := filepath.Join(at.Dir, "sent")
		defer os.RemoveAll(dir)
		var all []material.Instance
		for study := range n {
			for _, in := range region().Study(study) {
				m, err := material.FromAttributes(dir, in.Key, in.SOPClassUID, in.Attributes)
				if err != nil {
					return err
				}
				all = append(all, m)
			}
		}
		s := &material.Series{Dir: dir, Instances: all}
		_, err := stow(4, 20)(ctx, benchmarks.Round{At: at, Series: s, Amount: len(all)})
		return err
	}
}

// question is a kind of query with its own latencies.
type question struct {
	name string
	path func(n int) string // for the n-th study
}

// questions are all kinds. With issuers the PatientID is asked for with its
// issuer, without which ours refuses one that is that of several patients.
func questions(issuers bool) []question {
	return []question{
		{"name", func(n int) string {
			family, _, _ := strings.Cut(attribute(n, patientName), "^")
			day := attribute(n, studyDate)
			return "/studies?PatientName=" + url.QueryEscape(family) + "^*&limit=25&StudyDate=" + day[:6] + "01-" + day[:6] + "28"
		}},
		{"part", func(n int) string { // of a name: the given name without its first letter
			group, _, _ := strings.Cut(attribute(n, patientName), "=")
			given := strings.Split(group, "^")[1]
			_, size := utf8.DecodeRuneInString(given)
			return "/studies?PatientName=" + url.QueryEscape("*"+given[size:]+"*") + "&limit=25"
		}},
		{"referring", func(n int) string {
			family, _, _ := strings.Cut(attribute(n, referringPhysicianName), "^")
			day := attribute(n, studyDate)
			return "/studies?ReferringPhysicianName=" + url.QueryEscape(family) + "*&limit=25&StudyDate=" + day[:6] + "01-" + day[:6] + "28"
		}},
		{"patient", func(n int) string {
			if !issuers {
				return "/studies?PatientID=" + url.QueryEscape(attribute(n, patientID))
			}
			for attribute(n, issuerOfPatientID) == "" {
				n++
			}
			return "/studies?PatientID=" + url.QueryEscape(attribute(n, patientID)) + "&IssuerOfPatientID=" + url.QueryEscape(attribute(n, issuerOfPatientID))
		}},
		{"study", func(n int) string { return "/studies?StudyInstanceUID=" + attribute(n, studyInstanceUID) }},
		{"day", func(n int) string {
			return "/studies?StudyDate=" + attribute(n, studyDate) + "&ModalitiesInStudy=CT"
		}},
		{"page", func(n int) string {
			day := attribute(n, studyDate)
			return "/studies?limit=100&StudyDate=" + day[:6] + "01-" + day[:6] + "28"
		}},
	}
}

func attribute(study int, tag dicom.Tag) string {
	return value(region().Study(study)[0].Attributes, tag)
}

const (
	studyDate              = 0x00080020
	referringPhysicianName = 0x00080090
	patientName            = 0x00100010
	patientID              = 0x00100020
	issuerOfPatientID      = 0x00100021
	studyInstanceUID       = 0x0020000D
)

func value(set dicom.DataSet, tag dicom.Tag) string {
	for _, e := range set {
		if e.Tag == tag && len(e.Values) > 0 {
			return e.Values[0]
		}
	}
	return ""
}

// askAll puts all questions, each about another study; p50 and p99 without a name
// are those of all together.
func askAll(studies, clients int, issuers bool) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		total := benchmarks.Work{More: map[result.Measure]float64{}}
		for k, q := range questions(issuers) {
			paths := make([]string, max(1, r.Amount/len(questions(issuers))))
			for i := range paths {
				paths[i] = q.path((i*7919 + k*104729) % studies)
			}
			w, err := gets(clients, web, func(n int) ask { return ask{paths[n], acceptJSON, 0} })(ctx, benchmarks.Round{At: r.At, Amount: len(paths)})
			if err != nil {
				return w, err
			}
			total.Units += w.Units
			total.Bytes += w.Bytes
			total.Elapsed += w.Elapsed
			for _, m := range []result.Measure{result.P50, result.P99} {
				total.More[result.Measure(strings.Replace(string(m), " ", "-"+q.name+" ", 1))] = w.More[m]
			}
		}
		return total, nil
	}
}

// queries are those to an index of n studies. Peers take part beside the
// smallest one: to fill theirs takes minutes.
func (s Settings) queries(n int) benchmarks.Workload {
	cases := []benchmarks.Case{{Subject: s.ours(), Before: fillIndex(n), Drive: askAll(n, 1, true)}}
	if n == s.Studies[0] {
		peer := min(n, s.PeerStudies)
		for _, o := range []subject.Orthanc{{}, {PostgreSQL: true}} {
			title := fmt.Sprintf("%s %s studies", o.Name(), short(peer))
			cases = append(cases, benchmarks.Case{Subject: named{o, title}, Fill: sendIndex(peer), Drive: askAll(peer, 1, false)})
		}
	}
	return benchmarks.Workload{
		Name: "qido-" + short(n), Family: "qido", Size: n, Title: fmt.Sprintf("QIDO-RS of studies among %s, 1 client", short(n)),
		Primary: "p50-name ms", Unit: result.Requests, Amount: 1500, Cases: cases,
	}
}

// short writes 20000 as 20k and 1000000 as 1m.
func short(n int) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%dm", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	}
	return strconv.Itoa(n)
}
