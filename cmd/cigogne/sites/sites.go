// Package sites reads the YAML file of the sites that send; the README says what
// is in it.
package sites

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

// entry is a site in the file.
type entry struct {
	Name   string `yaml:"name"`
	FINESS string `yaml:"finess"`
	Issuer struct {
		Name string `yaml:"name"`
		OID  string `yaml:"oid"`
	} `yaml:"issuer"`
	// OverrideIssuer: the issuer stands even where Data Sets name another.
	OverrideIssuer bool     `yaml:"override-issuer"`
	CallingAE      []string `yaml:"calling-ae"`
	Networks       []string `yaml:"networks"`
	// Addresses are where AE titles listen: for C-MOVE and the reports of
	// storage commitment.
	Addresses map[string]string `yaml:"addresses"`
	// TokensSHA256 are the SHA-256 sums of bearer tokens, in hexadecimal.
	TokensSHA256 []string `yaml:"tokens-sha256"`
}

// Parse returns the sites of a file; without a text there are none.
// refuseUnknown is for those who are of none of them.
func Parse(text []byte, refuseUnknown bool) (*gateway.Sites, error) {
	var file struct {
		Sites []entry `yaml:"sites"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	all := make([]gateway.Site, len(file.Sites))
	for i, e := range file.Sites {
		var err error
		if all[i], err = e.site(); err != nil {
			return nil, fmt.Errorf("site %q: %w", e.Name, err)
		}
	}
	return gateway.NewSites(all, refuseUnknown)
}

// site is the entry as the gateway takes it. Without an issuer of its own the
// FINESS number names it.
func (e entry) site() (gateway.Site, error) {
	s := gateway.Site{CallingAETitles: e.CallingAE, Addresses: e.Addresses, SenderInfo: storage.SenderInfo{
		Name: e.Name, FINESS: e.FINESS, IssuerStands: e.OverrideIssuer,
		Issuer: storage.Issuer{Name: e.Issuer.Name},
	}}
	if e.Issuer.OID != "" {
		s.Issuer.UniversalID, s.Issuer.UniversalIDType = e.Issuer.OID, "ISO"
		if !storage.ValidUID(e.Issuer.OID) {
			return s, fmt.Errorf("issuer: %q is not an OID", e.Issuer.OID)
		}
	}
	if s.Issuer.Key() == "" {
		s.Issuer.Name = e.FINESS
	}
	for _, n := range e.Networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return s, fmt.Errorf("networks: %q: write 192.0.2.0/24", n)
		}
		s.Networks = append(s.Networks, p.Masked())
	}
	for _, t := range e.TokensSHA256 {
		b, err := hex.DecodeString(strings.TrimSpace(t))
		if err != nil || len(b) != sha256.Size {
			return s, errors.New("tokens-sha256: a SHA-256 sum has 64 hexadecimal digits")
		}
		s.Credentials = append(s.Credentials, [sha256.Size]byte(b))
	}
	return s, nil
}
