package material

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Real writes n instances made of the files of a real series, in their order
// and again from the first after the last. Each time they have UIDs of their
// own, as long as theirs: every other byte is as it was. No such folder is
// fs.ErrNotExist.
func Real(from, dir string, n int, seed uint64) (*Series, error) {
	paths, err := filepath.Glob(filepath.Join(from, "*.dcm"))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("%w: a real series in %s", fs.ErrNotExist, from)
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, err
	}
	s := &Series{Dir: dir}
	for i := range n {
		m, err := renamed(paths[i%len(paths)], filepath.Join(dir, fmt.Sprintf("%05d.dcm", i)), Seed(seed, i/len(paths)))
		if err != nil {
			return nil, err
		}
		s.StudyInstanceUID = m.StudyInstanceUID
		s.Instances = append(s.Instances, m)
	}
	return s, nil
}

// renamed copies a file, under other UIDs.
func renamed(from, to string, seed uint64) (m Instance, err error) {
	file, err := os.ReadFile(from)
	if err != nil {
		return m, err
	}
	body := bufio.NewReader(bytes.NewReader(file))
	head, err := dicom.ReadPart10(body)
	if err != nil {
		return m, err
	}
	scanner := dicom.NewScanner(head.Meta.TransferSyntaxUID, dicom.ScanLimits{})
	_, err = body.WriteTo(scanner)
	set, bad := scanner.Close()
	if err = errors.Join(err, bad); err != nil {
		return m, fmt.Errorf("%s: %w", from, err)
	}
	m.Path, m.Size, m.meta = to, int64(len(file)), int64(len(head.Prefix))
	m.TransferSyntaxUID, m.SOPClassUID = head.Meta.TransferSyntaxUID, set.SOPClassUID
	m.StudyInstanceUID, m.SeriesInstanceUID = otherUID(set.StudyInstanceUID, seed), otherUID(set.SeriesInstanceUID, seed)
	m.SOPInstanceUID = otherUID(set.SOPInstanceUID, seed)
	for _, names := range [][2]string{
		{set.SOPInstanceUID, m.SOPInstanceUID}, {set.SeriesInstanceUID, m.SeriesInstanceUID}, {set.StudyInstanceUID, m.StudyInstanceUID},
	} {
		file = bytes.ReplaceAll(file, []byte(names[0]), []byte(names[1]))
	}
	return m, os.WriteFile(to, file, 0o644)
}

// otherUID is another UID of the same form, in which only the last digits
// differ.
func otherUID(uid string, seed uint64) string {
	const most = 18 // digits that a seed has
	b, hash := []byte(uid), Seed(uid, seed)
	for i, changed := len(b)-1, 0; i > len("1.2.840.") && changed < most; i-- {
		if b[i] == '.' {
			continue
		}
		b[i] = byte('1' + hash%9) // no component begins with 0
		hash /= 9
		changed++
	}
	return string(b)
}
