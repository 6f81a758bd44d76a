// Package rpc is the typed API: gRPC, and the same over REST. The contract is
// cigogne/v1/*.proto; what is made of it is committed and made anew, offline,
// by go generate. See DESIGN.md.
package rpc

//go:generate go -C generate run .
