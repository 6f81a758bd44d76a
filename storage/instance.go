package storage

// Instance describes an instance as it is stored, wherever it lies.
type Instance struct {
	Key               InstanceKey `cbor:"1,keyasint" json:"key"`
	SOPClassUID       string      `cbor:"2,keyasint" json:"sopClassUID"`
	TransferSyntaxUID string      `cbor:"3,keyasint" json:"transferSyntaxUID"`
	Digest            Digest      `cbor:"4,keyasint" json:"digest"`
	// Size is the length in bytes of the stored Part 10 form, of which Prefix
	// are preamble and File Meta Information; the Data Set is the rest.
	Size   int64 `cbor:"5,keyasint" json:"size"`
	Prefix int64 `cbor:"6,keyasint" json:"prefix"`
	// CRC32 (IEEE) is of the whole stored Part 10 form.
	CRC32 uint32 `cbor:"7,keyasint" json:"crc32"`
	// Received is when the last byte came, in nanoseconds of Unix time.
	Received int64  `cbor:"8,keyasint" json:"received"`
	Origin   Origin `cbor:"9,keyasint" json:"origin"`
}

// DataSet is the range of the Data Set inside the stored Part 10 form.
func (i Instance) DataSet() Range {
	return Range{Offset: i.Prefix, Length: i.Size - i.Prefix}
}

// TransportManifest is the Transport of the manifests that a gateway makes
// itself. No sender's has it.
const TransportManifest = "manifest"

// Origin tells by which way an instance came.
type Origin struct {
	// Transport is "dimse" or "stow", or TransportManifest.
	Transport      string `cbor:"1,keyasint" json:"transport"`
	CallingAETitle string `cbor:"2,keyasint,omitempty" json:"callingAETitle,omitempty"`
	CalledAETitle  string `cbor:"3,keyasint,omitempty" json:"calledAETitle,omitempty"`
	RemoteAddr     string `cbor:"4,keyasint,omitempty" json:"remoteAddr,omitempty"`
	// ID is the association's or the request's id, as it stands in the log.
	ID string `cbor:"5,keyasint,omitempty" json:"id,omitempty"`
	// Sender is who sent it, as the node's configuration had it at receipt.
	Sender Sender `cbor:"6,keyasint,omitzero" json:"sender,omitzero"`
}
