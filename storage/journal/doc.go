// Package journal is the node's durable journal: append-only segment files in
// which an instance becomes durable before its sender is told so. It knows
// bytes and headers, not DICOM.
//
// An [Append] collects a payload, [Append.Commit] gives it a place, and
// [Pending.Wait] returns when it is safe. Appenders share an fsync. A segment
// is deleted as a whole, by [Journal.Remove], when nobody needs it any more.
package journal
