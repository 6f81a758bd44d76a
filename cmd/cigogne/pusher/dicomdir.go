package pusher

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

const (
	// mediaStorageDirectory is the SOP class of a DICOMDIR (PS3.4 §B.5).
	mediaStorageDirectory = "1.2.840.10008.1.3.10"
	// maxDICOMDIR bounds a DICOMDIR: some 200,000 records.
	maxDICOMDIR = 256 << 20
)

// isDICOMDIR tells a media directory by its File Meta Information, whatever it
// is called.
func isDICOMDIR(s source) (bool, error) {
	f, err := s.open()
	if err != nil {
		return false, err
	}
	defer f.Close()
	head, err := dicom.ReadPart10(bufio.NewReader(f))
	return err == nil && head.Meta.SOPClassUID == mediaStorageDirectory, nil
}

// readDICOMDIR yields the files that a DICOMDIR refers to (PS3.3 §F.3). They
// are opened inside of its folder: a reference that leads out of it, by ".."
// or by a link, is refused.
func (f *finder) readDICOMDIR(ctx context.Context, s source, yield found) bool {
	ids, err := fileIDs(s)
	if err != nil {
		return yield(s, fmt.Errorf("DICOMDIR: %w", err))
	}
	dir := filepath.Dir(s.path)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return yield(s, err)
	}
	f.roots = append(f.roots, root)
	for _, id := range ids {
		if ctx.Err() != nil {
			return false
		}
		ref := source{name: filepath.Join(dir, filepath.Join(id...)), named: true, root: root}
		ref.path, err = inside(root, id)
		if err == nil {
			var st fs.FileInfo
			if st, err = root.Stat(ref.path); err == nil {
				ref.size = st.Size()
			}
		}
		if !yield(ref, err) {
			return false
		}
	}
	return true
}

// inside is the path of a file ID in the root. Media are case-blind where
// file systems may not be: when there is no such file the lower-case name is
// tried, as CDs are mounted.
func inside(root *os.Root, id []string) (string, error) {
	for _, component := range id {
		if component == "" || component == "." || component == ".." || strings.ContainsAny(component, `/\`+"\x00") {
			return "", fmt.Errorf("%w: the DICOMDIR refers to %q, which is no file ID", storage.ErrInvalid, strings.Join(id, "/"))
		}
	}
	path := filepath.Join(id...)
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("%w: the DICOMDIR refers to %q, outside of its folder", storage.ErrInvalid, path)
	}
	if _, err := root.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if lower := strings.ToLower(path); lower != path {
			if _, err := root.Stat(lower); err == nil {
				return lower, nil
			}
		}
	}
	return path, nil
}

// fileIDs are the ReferencedFileID values of a DICOMDIR, each once.
func fileIDs(s source) ([][]string, error) {
	if s.size > maxDICOMDIR {
		return nil, fmt.Errorf("%w: %d bytes", storage.ErrTooLarge, s.size)
	}
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReader(io.LimitReader(f, maxDICOMDIR))
	head, err := dicom.ReadPart10(r)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := dicom.WriteJSON(&text, r, head.Meta.TransferSyntaxUID, dicom.ScanLimits{}); err != nil {
		return nil, err
	}
	var directory struct {
		Records struct {
			Value []struct {
				FileID struct{ Value []string } `json:"00041500"`
				InUse  struct{ Value []int }    `json:"00041410"`
			}
		} `json:"00041220"`
	}
	if err := json.Unmarshal([]byte(text.String()), &directory); err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	var ids [][]string
	seen := map[string]bool{}
	for _, record := range directory.Records.Value {
		id := record.FileID.Value
		key := strings.Join(id, "/")
		// Inactive records (PS3.3 §F.3.2.2) are deleted ones.
		if len(id) == 0 || seen[key] || len(record.InUse.Value) > 0 && record.InUse.Value[0] == 0 {
			continue
		}
		seen[key] = true
		ids = append(ids, id)
	}
	return ids, nil
}
