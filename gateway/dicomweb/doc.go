// Package dicomweb is the DICOMweb transport (PS3.18): STOW-RS, QIDO-RS and
// WADO-RS over the gateway's use cases, as one http.Handler. Bodies stream in
// both directions: memory per request is constant, whatever the size of an
// instance or of a study.
package dicomweb
