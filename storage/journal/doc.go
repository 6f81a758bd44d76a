// Package journal is the node's durable journal: append-only segment files in
// which an instance becomes durable before its sender is told so. It knows
// bytes and headers, not DICOM.
package journal
