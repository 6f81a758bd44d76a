// Package dicomtest makes synthetic DICOM Data Sets for tests and benchmarks:
// the same from the same seed, in every way of writing them, and hostile ones.
// It shares no code with what it tests.
package dicomtest
