package dicom

import "strings"

// TransferSyntax is what must be known of a transfer syntax to walk through a
// Data Set in it (PS3.5 §10). The bytes of PixelData need no understanding.
type TransferSyntax struct {
	UID  string
	Name string
	// ImplicitVR, BigEndian and Deflated tell how the Data Set is written.
	ImplicitVR bool
	BigEndian  bool
	Deflated   bool
	// Encapsulated is what the standard says of PixelData; a Data Set itself
	// tells by its length, and that is what the Scanner goes by.
	Encapsulated bool
	// Known is false for a private or a future one, of which it is assumed
	// that it is Explicit VR Little Endian with encapsulated PixelData, as
	// every one is that the standard gained since 1999.
	Known bool
}

// UIDs of the transfer syntaxes that are named in code.
const (
	ImplicitVRLittleEndian         = "1.2.840.10008.1.2"
	ExplicitVRLittleEndian         = "1.2.840.10008.1.2.1"
	DeflatedExplicitVRLittleEndian = "1.2.840.10008.1.2.1.99"
	ExplicitVRBigEndian            = "1.2.840.10008.1.2.2"
	RLELossless                    = "1.2.840.10008.1.2.5"
	JPEGBaseline                   = "1.2.840.10008.1.2.4.50"
	// GEPrivate is Implicit VR Little Endian with PixelData in Big Endian.
	GEPrivate = "1.2.840.113619.5.2"
)

// LookupTransferSyntax never fails: see TransferSyntax.Known.
func LookupTransferSyntax(uid string) TransferSyntax {
	ts := TransferSyntax{UID: uid, Known: true}
	switch uid {
	case ImplicitVRLittleEndian:
		ts.Name, ts.ImplicitVR = "Implicit VR Little Endian", true
	case GEPrivate:
		ts.Name, ts.ImplicitVR = "GE Private Implicit VR Little Endian, Big Endian Pixel Data", true
	case ExplicitVRLittleEndian:
		ts.Name = "Explicit VR Little Endian"
	case DeflatedExplicitVRLittleEndian:
		ts.Name, ts.Deflated = "Deflated Explicit VR Little Endian", true
	case ExplicitVRBigEndian:
		ts.Name, ts.BigEndian = "Explicit VR Big Endian", true
	case "1.2.840.10008.1.2.4.94":
		ts.Name = "JPIP Referenced"
	case "1.2.840.10008.1.2.4.95":
		ts.Name, ts.Deflated = "JPIP Referenced Deflate", true
	case "1.2.840.10008.1.2.4.204":
		ts.Name = "JPIP HTJ2K Referenced"
	case "1.2.840.10008.1.2.4.205":
		ts.Name, ts.Deflated = "JPIP HTJ2K Referenced Deflate", true
	case "1.2.840.10008.1.2.7.1", "1.2.840.10008.1.2.7.2", "1.2.840.10008.1.2.7.3":
		ts.Name = "SMPTE ST 2110"
	default:
		ts.Name, ts.Encapsulated = encapsulatedName(uid), true
		ts.Known = ts.Name != ""
	}
	return ts
}

func encapsulatedName(uid string) string {
	switch uid {
	case JPEGBaseline:
		return "JPEG Baseline (Process 1)"
	case "1.2.840.10008.1.2.4.51":
		return "JPEG Extended (Process 2 & 4)"
	case "1.2.840.10008.1.2.4.57":
		return "JPEG Lossless (Process 14)"
	case "1.2.840.10008.1.2.4.70":
		return "JPEG Lossless (Process 14, Selection Value 1)"
	case "1.2.840.10008.1.2.4.80":
		return "JPEG-LS Lossless"
	case "1.2.840.10008.1.2.4.81":
		return "JPEG-LS Near-Lossless"
	case "1.2.840.10008.1.2.4.90":
		return "JPEG 2000 Lossless Only"
	case "1.2.840.10008.1.2.4.91":
		return "JPEG 2000"
	case "1.2.840.10008.1.2.4.92":
		return "JPEG 2000 Part 2 Multi-component Lossless Only"
	case "1.2.840.10008.1.2.4.93":
		return "JPEG 2000 Part 2 Multi-component"
	case RLELossless:
		return "RLE Lossless"
	case "1.2.840.10008.1.2.8.1":
		return "Deflated Image Frame Compression"
	case "1.2.840.10008.1.2.1.98":
		return "Encapsulated Uncompressed Explicit VR Little Endian"
	}
	if name := videoName(strings.TrimSuffix(uid, ".1")); name != "" {
		return name
	}
	return newerName(uid)
}

// videoName is for uid without the ".1" of a fragmentable video stream.
func videoName(uid string) string {
	switch uid {
	case "1.2.840.10008.1.2.4.100":
		return "MPEG2 Main Profile / Main Level"
	case "1.2.840.10008.1.2.4.101":
		return "MPEG2 Main Profile / High Level"
	case "1.2.840.10008.1.2.4.102":
		return "MPEG-4 AVC/H.264 High Profile / Level 4.1"
	case "1.2.840.10008.1.2.4.103":
		return "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1"
	case "1.2.840.10008.1.2.4.104":
		return "MPEG-4 AVC/H.264 High Profile / Level 4.2 for 2D Video"
	case "1.2.840.10008.1.2.4.105":
		return "MPEG-4 AVC/H.264 High Profile / Level 4.2 for 3D Video"
	case "1.2.840.10008.1.2.4.106":
		return "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2"
	case "1.2.840.10008.1.2.4.107":
		return "HEVC/H.265 Main Profile / Level 5.1"
	case "1.2.840.10008.1.2.4.108":
		return "HEVC/H.265 Main 10 Profile / Level 5.1"
	}
	return ""
}

func newerName(uid string) string {
	switch uid {
	case "1.2.840.10008.1.2.4.110":
		return "JPEG XL Lossless"
	case "1.2.840.10008.1.2.4.111":
		return "JPEG XL JPEG Recompression"
	case "1.2.840.10008.1.2.4.112":
		return "JPEG XL"
	case "1.2.840.10008.1.2.4.201":
		return "High-Throughput JPEG 2000 Lossless Only"
	case "1.2.840.10008.1.2.4.202":
		return "High-Throughput JPEG 2000 with RPCL Options Lossless Only"
	case "1.2.840.10008.1.2.4.203":
		return "High-Throughput JPEG 2000"
	}
	return ""
}
