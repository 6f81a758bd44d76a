package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
)

// senders says who the sites are that send, and what happens to others.
type senders struct {
	Sites          string `placeholder:"FILE" type:"path" help:"YAML file of the sites that send, each with the issuer of its PatientIDs; see README."`
	UnknownSenders string `enum:"own,refuse" default:"own" help:"Senders of no site: 'own' takes each for an issuer of its own, 'refuse' takes nothing from them (${default})."`
	INS            string `name:"ins" enum:"production,test" default:"production" help:"National identities that are taken: 'production' refuses those for tests and demonstrations, 'test' the others (${default})."`
}

// realm is whose national identities the node deals in.
func (s *senders) realm() ins.Realm {
	if s.INS == "test" {
		return ins.Trial
	}
	return ins.Production
}

// siteEntry is a site in the file.
type siteEntry struct {
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

// loadSites reads them.
func (s *senders) loadSites() (*gateway.Sites, error) {
	var entries []siteEntry
	if s.Sites != "" {
		b, err := os.ReadFile(s.Sites)
		if err != nil {
			return nil, fmt.Errorf("%w: --sites: %w", errUsage, err)
		}
		if entries, err = parseSites(b); err != nil {
			return nil, fmt.Errorf("%w: --sites %s: %w", errUsage, s.Sites, err)
		}
	}
	sites := make([]gateway.Site, len(entries))
	for i, e := range entries {
		var err error
		if sites[i], err = e.site(); err != nil {
			return nil, fmt.Errorf("%w: --sites %s: site %q: %w", errUsage, s.Sites, e.Name, err)
		}
	}
	found, err := gateway.NewSites(sites, s.UnknownSenders == "refuse")
	if err != nil {
		return nil, fmt.Errorf("%w: --sites %s: %w", errUsage, s.Sites, err)
	}
	return found, nil
}

func parseSites(b []byte) ([]siteEntry, error) {
	var file struct {
		Sites []siteEntry `yaml:"sites"`
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return file.Sites, nil
}

// site is the entry as the gateway takes it. Without an issuer of its own the
// FINESS number names it.
func (e siteEntry) site() (gateway.Site, error) {
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
