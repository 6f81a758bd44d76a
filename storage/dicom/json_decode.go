package dicom

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// maxJSONDepth bounds how deep sequences may be nested in DICOM JSON.
const maxJSONDepth = 64

type jsonElement struct {
	VR           string            `json:"vr"`
	Value        []json.RawMessage `json:"Value"`
	InlineBinary string            `json:"InlineBinary"`
	BulkDataURI  string            `json:"BulkDataURI"`
}

// UnmarshalJSON implements json.Unmarshaler. Its errors wrap
// storage.ErrInvalid. The Range of a Bulk is not in JSON and stays zero.
func (ds *DataSet) UnmarshalJSON(text []byte) error {
	decoded, err := decodeDataSet(text, 0)
	if err != nil {
		return err
	}
	*ds = decoded
	return nil
}

// UnmarshalJSON implements json.Unmarshaler; it leaves Tag as it is.
func (e *Element) UnmarshalJSON(text []byte) error {
	decoded, err := decodeElement(e.Tag, text, 0)
	if err != nil {
		return err
	}
	*e = decoded
	return nil
}

func decodeDataSet(text []byte, depth int) (DataSet, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("%w: DICOM JSON nested more than %d deep", storage.ErrInvalid, maxJSONDepth)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("%w: DICOM JSON: %w", storage.ErrInvalid, err)
	}
	if len(object) == 0 {
		return nil, nil
	}
	ds := make(DataSet, 0, len(object))
	for name, raw := range object {
		tag, err := strconv.ParseUint(name, 16, 32)
		if err != nil || len(name) != 8 {
			return nil, fmt.Errorf("%w: DICOM JSON: %q is not a tag", storage.ErrInvalid, clip(name))
		}
		e, err := decodeElement(Tag(tag), raw, depth)
		if err != nil {
			return nil, err
		}
		ds = append(ds, e)
	}
	slices.SortFunc(ds, func(a, b Element) int { return int(int64(a.Tag) - int64(b.Tag)) })
	return slices.CompactFunc(ds, func(a, b Element) bool { return a.Tag == b.Tag }), nil
}

func decodeElement(tag Tag, text []byte, depth int) (Element, error) {
	e := Element{Tag: tag}
	var j jsonElement
	if err := json.Unmarshal(text, &j); err != nil {
		return e, fmt.Errorf("%w: DICOM JSON: element %s: %w", storage.ErrInvalid, tag, err)
	}
	if e.VR = VR(j.VR); !e.VR.known() {
		return e, fmt.Errorf("%w: DICOM JSON: element %s has VR %q", storage.ErrInvalid, tag, clip(j.VR))
	}
	switch {
	case j.BulkDataURI != "":
		path := j.BulkDataURI
		if i := strings.LastIndex(path, bulkPrefix); i >= 0 {
			path = path[i+len(bulkPrefix):]
		}
		e.Bulk = &Bulk{Path: path, VR: e.VR}
	case e.VR == "SQ":
		return e, e.decodeItems(j.Value, depth)
	case e.VR.class() == classBinary:
		if _, err := base64.StdEncoding.DecodeString(j.InlineBinary); err != nil {
			return e, fmt.Errorf("%w: DICOM JSON: element %s: %w", storage.ErrInvalid, tag, err)
		}
		if j.InlineBinary != "" {
			e.Values = []string{j.InlineBinary}
		}
	default:
		return e, e.decodeJSONValues(j.Value)
	}
	return e, nil
}

func (e *Element) decodeItems(values []json.RawMessage, depth int) error {
	for _, raw := range values {
		item, err := decodeDataSet(raw, depth+1)
		if err != nil {
			return err
		}
		e.Items = append(e.Items, item)
	}
	return nil
}

func (e *Element) decodeJSONValues(values []json.RawMessage) error {
	for _, raw := range values {
		v, err := decodeJSONValue(e.VR, raw)
		if err != nil {
			return fmt.Errorf("%w: DICOM JSON: element %s: %w", storage.ErrInvalid, e.Tag, err)
		}
		e.Values = append(e.Values, v)
	}
	if len(e.Values) == 1 && e.Values[0] == "" {
		e.Values = nil
	}
	return nil
}

func decodeJSONValue(vr VR, raw json.RawMessage) (string, error) {
	switch raw[0] {
	case 'n': // null
		return "", nil
	case '{':
		if vr != "PN" {
			return "", fmt.Errorf("an object as a value of VR %s", vr)
		}
		var name struct{ Alphabetic, Ideographic, Phonetic string }
		if err := json.Unmarshal(raw, &name); err != nil {
			return "", err
		}
		return strings.TrimRight(name.Alphabetic+"="+name.Ideographic+"="+name.Phonetic, "="), nil
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err
	case '[', 't', 'f':
		return "", fmt.Errorf("%s is no value", clip(string(raw)))
	}
	return string(raw), nil // a number, as it is written
}
