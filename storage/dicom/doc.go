// Package dicom reads Data Sets: a bounded scanner that a peer's bytes are
// pushed through as they arrive, the DICOM JSON model, character sets, and
// what must be known of transfer syntaxes. It never keeps Pixel Data.
package dicom
