package dicom

import "github.com/esante-alsace/cigogne/storage"

// Tag is an attribute's tag, group in the upper 16 bits.
type Tag uint32

// VR is a two-letter Value Representation such as "PN" (PS3.5 §6.2).
type VR string

// DataSet is a decoded Data Set in ascending order of tags, its text in UTF-8
// whatever its SpecificCharacterSet was. It is the DICOM JSON model (PS3.18
// §F.2) in Go: decoding and encoding JSON keep every value.
type DataSet []Element

// Element is one Data Element. Exactly one of Values, Items and Bulk is set,
// or none for an empty value.
type Element struct {
	Tag Tag
	VR  VR
	// Values are the decoded values of all text, number, tag and person name
	// VRs, in the text form of PS3.5: numbers in decimal, AT as eight
	// hexadecimal digits, PN with its '=' and '^'. Binary VRs that were small
	// enough to keep inline have one value: their bytes in base64.
	Values []string
	// Items are the items of a sequence.
	Items []DataSet
	// Bulk tells where the value lies when it was not kept.
	Bulk *Bulk
}

// Bulk is a value that is left in the Data Set's bytes: PixelData and other
// large ones.
type Bulk struct {
	// Path names the element inside the Data Set: eight upper-case
	// hexadecimal digits, preceded for an element inside a sequence by the
	// tag and the zero-based item of each level, parted by dots, such as
	// "54000100.0.54001010".
	Path string
	VR   VR
	// Range is the value field inside the Data Set (not counting preamble and
	// File Meta Information). For encapsulated PixelData it covers all items
	// from the Basic Offset Table item up to the sequence delimiter.
	Range storage.Range
}

// Layout is what must be known of a Data Set to read its bulk values and its
// frames without reading the rest.
type Layout struct {
	// Bulk lists the values that the metadata names with a BulkDataURI, by
	// Path. It is bounded by ScanLimits.
	Bulk []Bulk
	// Frames describes PixelData; it is nil when there is none, or none whose
	// frames can be told apart.
	Frames *Frames
}

// Frames tells where the frames of PixelData lie in the Data Set.
type Frames struct {
	// Count is the number of frames, at least 1.
	Count int
	// FrameBits is the length in bits of one frame of native PixelData, and 0
	// for encapsulated. Frames of BitsAllocated 1 need not begin on a byte.
	FrameBits int64
	// Native is the whole native value.
	Native storage.Range
	// Fragments are the fragments of encapsulated PixelData (their bytes,
	// without item headers), and FirstFragment[i] is the index of the first
	// fragment of frame i; a frame reaches up to the first of the next.
	Fragments     []storage.Range
	FirstFragment []int
}
