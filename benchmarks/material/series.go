// Package material is what the benchmarks send: synthetic series, written to
// files before a run is timed. Every run has its own, for an instance that is
// sent again is recognised and costs nothing.
package material

import (
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// Series is a series of instances in files.
type Series struct {
	Dir              string
	StudyInstanceUID string
	Instances        []Instance
}

// Instance is an instance and the Part 10 file that holds it.
type Instance struct {
	dicomtest.Instance
	Path string
	Size int64 // of the file, in bytes
	meta int64 // of what precedes the Data Set
}

// Kind is what a series is of.
type Kind struct {
	Modality string // CT is 526 KB an instance, CR 22 KB
	Frames   int    // in each instance; 0 is one
}

// Write writes a series of n instances below dir, which it makes.
func Write(dir string, kind Kind, n int, seed uint64) (*Series, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	study := dicomtest.NewStudy(dicomtest.Options{
		Seed: seed, Instances: n, Modality: kind.Modality, Frames: kind.Frames,
		PatientName: "Meyer^Jean", PatientID: fmt.Sprintf("BENCH%d", seed),
	})
	s := &Series{Dir: dir, StudyInstanceUID: study.StudyInstanceUID}
	for i, instance := range study.Instances {
		m := Instance{Instance: instance, Path: filepath.Join(dir, fmt.Sprintf("%05d.dcm", i))}
		if err := m.write(); err != nil {
			return nil, err
		}
		s.Instances = append(s.Instances, m)
	}
	return s, nil
}

func (m *Instance) write() error {
	f, err := os.Create(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	meta := dicomtest.FileMeta(m.SOPClassUID, m.SOPInstanceUID, m.TransferSyntaxUID)
	if _, err := f.Write(meta); err != nil {
		return err
	}
	n, err := io.Copy(f, m.Reader())
	if err != nil {
		return err
	}
	m.meta, m.Size = int64(len(meta)), int64(len(meta))+n
	return f.Close()
}

// OpenDataSet opens the file at its Data Set.
func (m *Instance) OpenDataSet() (*os.File, error) {
	f, err := os.Open(m.Path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(m.meta, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Bytes is the size of all files.
func (s *Series) Bytes() int64 { return Bytes(s.Instances) }

// Bytes is the size of the instances' files.
func Bytes(instances []Instance) int64 {
	var total int64
	for i := range instances {
		total += instances[i].Size
	}
	return total
}

// Part is the series cut to its instances from one number up to another. That
// of no series is none.
func (s *Series) Part(from, to int) *Series {
	if s == nil {
		return nil
	}
	c := *s
	c.Instances = s.Instances[min(from, len(s.Instances)):min(to, len(s.Instances))]
	return &c
}

// Split deals the instances to n senders, as evenly as may be.
func (s *Series) Split(n int) [][]Instance {
	parts := make([][]Instance, 0, n)
	for i := range n {
		from, to := len(s.Instances)*i/n, len(s.Instances)*(i+1)/n
		if to > from {
			parts = append(parts, s.Instances[from:to])
		}
	}
	return parts
}

// Remove removes the files.
func (s *Series) Remove() error { return os.RemoveAll(s.Dir) }

// Seed is a seed that differs with each of the words.
func Seed(words ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, words...)
	return h.Sum64() >> 1
}
