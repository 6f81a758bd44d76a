package index

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// wireElement is a Data Element as an array of tag, VR, values and items.
type wireElement struct {
	_      struct{} `cbor:",toarray"`
	Tag    uint32
	VR     string
	Values []string
	Items  []wireSet
}

type wireSet []wireElement

// toWire leaves bulk values out: what is indexed is small.
func toWire(ds dicom.DataSet) wireSet {
	if len(ds) == 0 {
		return nil
	}
	w := make(wireSet, 0, len(ds))
	for _, e := range ds {
		if e.Bulk != nil {
			continue
		}
		we := wireElement{Tag: uint32(e.Tag), VR: string(e.VR), Values: e.Values}
		for _, item := range e.Items {
			we.Items = append(we.Items, toWire(item))
		}
		w = append(w, we)
	}
	return w
}

func fromWire(w wireSet) dicom.DataSet {
	if len(w) == 0 {
		return nil
	}
	ds := make(dicom.DataSet, len(w))
	for i, we := range w {
		ds[i] = dicom.Element{Tag: dicom.Tag(we.Tag), VR: dicom.VR(we.VR)}
		if len(we.Values) > 0 {
			ds[i].Values = we.Values
		}
		for _, item := range we.Items {
			ds[i].Items = append(ds[i].Items, fromWire(item))
		}
	}
	return ds
}

// codec is CBOR as the index writes it: core deterministic encoding (RFC 8949
// §4.2), so that equal values are equal bytes on every node.
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// Bounds of what is decoded. A batch of BatchBytes cannot reach the counts by
// honest means, and no attributes of an instance the depth: that is three for
// each of the 32 levels of sequences that are read of one.
const (
	maxArray = 1 << 17
	maxDepth = 128
)

func newCodec() (codec, error) {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty
	enc, err := options.EncMode()
	if err != nil {
		return codec{}, fmt.Errorf("CBOR: %w", err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   maxDepth,
		MaxArrayElements:  maxArray,
		MaxMapPairs:       16,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8DecodeInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		return codec{}, fmt.Errorf("CBOR: %w", err)
	}
	return codec{enc: enc, dec: dec}, nil
}

func (c codec) encodeSet(ds dicom.DataSet) ([]byte, error) {
	b, err := c.enc.Marshal(toWire(ds))
	if err != nil {
		return nil, fmt.Errorf("encode attributes: %w", err)
	}
	return b, nil
}

func (c codec) decodeRow(b []byte, v any) error {
	if err := c.dec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: a row of the index: %w", storage.ErrCorrupt, err)
	}
	return nil
}
