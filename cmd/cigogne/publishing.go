package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/gateway/dmp/publication"
)

// publishing says when studies are complete, and what manifests say of us.
type publishing struct {
	CompleteAfter    time.Duration `default:"10m" help:"How long nothing of a study must come before it is complete (${default})."`
	ManifestURL      string        `name:"manifest-url" placeholder:"URL" help:"Root from which others retrieve what a manifest lists, such as https://images.example/by-manifest; where HTTP listens by default."`
	ManifestLocation string        `placeholder:"UID" help:"RetrieveLocationUID of that place; none by default."`
	ManifestAuth     string        `enum:"token,none" default:"token" help:"Who may retrieve by manifest: 'token' for who shows a bearer token of a site, 'none' for everybody (${default})."`
	StructureName    string        `placeholder:"NAME" help:"Who speaks for studies whose site has no FINESS number."`
	StructureID      string        `name:"structure-id" placeholder:"ID" help:"Its national identifier with the prefix: 1 and a FINESS number, 3 and a SIRET."`
	StructureOID     string        `name:"structure-oid" default:"1.2.250.1.71.4.2.2" placeholder:"OID" help:"Of who assigned --structure-id (${default})."`
}

// check refuses what flags alone cannot refuse.
func (p *publishing) check() error {
	if p.CompleteAfter <= 0 {
		return fmt.Errorf("%w: --complete-after %s: more than 0", errUsage, p.CompleteAfter)
	}
	if p.ManifestURL != "" && !strings.HasPrefix(p.ManifestURL, "http://") && !strings.HasPrefix(p.ManifestURL, "https://") {
		return fmt.Errorf("%w: --manifest-url %q: write https://HOST/PATH", errUsage, p.ManifestURL)
	}
	return nil
}

// manifestRoot is the path below which who shows a manifest retrieves.
const manifestRoot = "/by-manifest"

// resolvePath is the path that tells of a manifest what can be had here.
const resolvePath = "/v1/manifests:resolve"

func (n *node) wirePublication() {
	c := n.config
	root := func() string {
		if c.ManifestURL == "" {
			return "http://" + n.http.Addr().String() + manifestRoot
		}
		return strings.TrimRight(c.ManifestURL, "/")
	}
	n.publication = publication.New(publication.Options{
		Index: n.index, Proposer: n.proposer, Search: n.finder, Retrieve: n.reader, Store: n.storer, Patients: n.patients,
		After: c.CompleteAfter, Root: root, Location: c.ManifestLocation,
		Structure: manifest.Structure{Name: c.StructureName, ID: c.StructureID, OID: c.StructureOID},
		Logger:    n.log,
	})
}

// handlePublication adds what is answered of manifests.
func (n *node) handlePublication(mux *http.ServeMux) {
	c := n.config
	known := func(token string) bool {
		_, ok := n.sites.Of("", token, "")
		return ok
	}
	if c.ManifestAuth == "none" {
		known = nil
	}
	retrieval := dicomweb.New(dicomweb.Options{
		Retrieve: publication.Listed{Retriever: n.reader}, Root: manifestRoot,
		Limits:    dicomweb.Limits{ReadStall: c.Stall, WriteStall: c.Stall},
		RequestID: requestID, Sent: n.sent, Logger: n.log, Metrics: n.metrics,
	})
	mux.Handle(manifestRoot+"/", http.StripPrefix(manifestRoot, n.consistent(n.publication.ByManifest(known, retrieval))))
	mux.Handle(resolvePath, n.publication.Resolver())
}

// ofPublication is what a request that is about manifests wants to do.
func ofPublication(r *http.Request) (access.Operation, bool) {
	switch {
	case strings.HasPrefix(r.URL.Path, manifestRoot+"/"):
		return access.Retrieve, true
	case r.URL.Path == resolvePath:
		return access.Search, true
	}
	return "", false
}
