package main

import (
	"fmt"
	"os"

	"github.com/esante-alsace/cigogne/cmd/cigogne/sites"
	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
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

// loadSites reads them.
func (s *senders) loadSites() (*gateway.Sites, error) {
	var text []byte
	if s.Sites != "" {
		var err error
		if text, err = os.ReadFile(s.Sites); err != nil {
			return nil, fmt.Errorf("%w: --sites: %w", errUsage, err)
		}
	}
	found, err := sites.Parse(text, s.UnknownSenders == "refuse")
	if err != nil {
		return nil, fmt.Errorf("%w: --sites %s: %w", errUsage, s.Sites, err)
	}
	return found, nil
}
