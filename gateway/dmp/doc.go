// Package dmp is the HTTP resource by which identities of sites are linked with
// the national one, and by which operators settle what is in doubt. It turns
// requests into calls of the gateway's Patients, and knows no store. See
// DESIGN.md.
package dmp
