package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/cmd/cigogne/httpserver"
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
	ManifestMax      int           `default:"50000" help:"Most instances of a study of which a manifest is made (${default})."`
	ManifestAuth     string        `enum:"token,none" default:"token" help:"Who may retrieve by manifest: 'token' for who shows a bearer token of a site, 'none' for everybody (${default})."`
	DMPEndpoint      string        `name:"dmp-endpoint" placeholder:"URL" help:"FHIR base of the shared record (MHD, ITI-65), to which manifests are published; nothing is published without it."`
	DMPTokenFile     string        `name:"dmp-token-file" placeholder:"FILE" type:"path" help:"File with the bearer token for --dmp-endpoint; it is read for each request."`
	DMPCA            string        `name:"dmp-ca" placeholder:"FILE" type:"path" help:"PEM file of the authorities by which --dmp-endpoint is known; the system's by default."`
	DMPCert          string        `name:"dmp-cert" placeholder:"FILE" type:"path" help:"PEM file of the certificate that --dmp-endpoint is shown; with --dmp-key."`
	DMPKey           string        `name:"dmp-key" placeholder:"FILE" type:"path" help:"PEM file of its key. Both are read for each connection."`
	DMPCodes         string        `name:"dmp-codes" placeholder:"FILE" type:"path" help:"JSON file with codes that take the place of the national ones; see gateway/dmp/DESIGN.md."`
	DMPTimeout       time.Duration `name:"dmp-timeout" default:"30s" help:"How long one delivery to --dmp-endpoint may take (${default})."`
	StructureName    string        `placeholder:"NAME" help:"Who speaks for studies whose site has no FINESS number."`
	StructureID      string        `name:"structure-id" placeholder:"ID" help:"Its national identifier with the prefix: 1 and a FINESS number, 3 and a SIRET."`
	StructureOID     string        `name:"structure-oid" default:"1.2.250.1.71.4.2.2" placeholder:"OID" help:"Of who assigned --structure-id (${default})."`
}

// check refuses what flags alone cannot refuse.
func (p *publishing) check() error {
	if p.CompleteAfter <= 0 {
		return fmt.Errorf("%w: --complete-after %s: more than 0", errUsage, p.CompleteAfter)
	}
	if p.ManifestMax < 1 || p.ManifestMax > publication.MostInManifest {
		return fmt.Errorf("%w: --manifest-max %d: 1 to %d", errUsage, p.ManifestMax, publication.MostInManifest)
	}
	if p.ManifestURL != "" && !strings.HasPrefix(p.ManifestURL, "http://") && !strings.HasPrefix(p.ManifestURL, "https://") {
		return fmt.Errorf("%w: --manifest-url %q: write https://HOST/PATH", errUsage, p.ManifestURL)
	}
	return p.checkDMP()
}

func (p *publishing) checkDMP() error {
	u, err := url.Parse(p.DMPEndpoint)
	if p.DMPEndpoint == "" {
		return nil
	}
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return fmt.Errorf("%w: --dmp-endpoint %q: write https://HOST/PATH", errUsage, p.DMPEndpoint)
	}
	if p.DMPTimeout < time.Second {
		return fmt.Errorf("%w: --dmp-timeout %s: 1s or more", errUsage, p.DMPTimeout)
	}
	if (p.DMPCert == "") != (p.DMPKey == "") {
		return fmt.Errorf("%w: --dmp-cert and --dmp-key go together", errUsage)
	}
	_, err = p.codes()
	_, terr := p.tls()
	return errors.Join(err, terr)
}

// tls is how the shared record is known, and who we are to it.
func (p *publishing) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.DMPCA != "" {
		b, err := os.ReadFile(p.DMPCA)
		if err != nil {
			return nil, fmt.Errorf("%w: --dmp-ca: %w", errUsage, err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%w: --dmp-ca %s holds no certificate", errUsage, p.DMPCA)
		}
	}
	if p.DMPCert == "" {
		return c, nil
	}
	own := func() (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(p.DMPCert, p.DMPKey)
		if err != nil {
			return nil, fmt.Errorf("%w: --dmp-cert: %w", errUsage, err)
		}
		return &cert, nil
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }
	_, err := own()
	return c, err
}

// codes are the national ones, with what --dmp-codes has laid over.
func (p *publishing) codes() (manifest.Codes, error) {
	codes := manifest.DefaultCodes()
	if p.DMPCodes == "" {
		return codes, nil
	}
	f, err := os.Open(p.DMPCodes)
	if err != nil {
		return codes, fmt.Errorf("%w: --dmp-codes: %w", errUsage, err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&codes); err != nil {
		return codes, fmt.Errorf("%w: --dmp-codes %s: %w", errUsage, p.DMPCodes, err)
	}
	return codes, nil
}

// token is what --dmp-token-file holds.
func (p *publishing) token() (string, error) {
	b, err := os.ReadFile(p.DMPTokenFile)
	return strings.TrimSpace(string(b)), err
}

// manifestRoot is the path below which who shows a manifest retrieves.
const manifestRoot = "/by-manifest"

// resolvePath is the path that tells of a manifest what can be had here.
const resolvePath = "/v1/manifests:resolve"

func (n *node) wirePublication() error {
	c := n.config
	root := func() string {
		if c.ManifestURL == "" {
			return "http://" + n.http.Addr().String() + manifestRoot
		}
		return strings.TrimRight(c.ManifestURL, "/")
	}
	if c.ManifestURL == "" && c.clustered() {
		n.log.Warn("manifests name this node alone: --manifest-url is where the whole cluster is reached")
	}
	n.publication = publication.New(publication.Options{
		Index: n.index, Proposer: n.proposer, Search: n.finder, Retrieve: n.reader, Store: n.storer, Patients: n.patients,
		After: c.CompleteAfter, Root: root, Location: c.ManifestLocation,
		Structure: manifest.Structure{Name: c.StructureName, ID: c.StructureID, OID: c.StructureOID},
		SpoolDir:  c.spoolDir(), Most: c.ManifestMax, Lacking: n.metrics.Lacking,
		Logger: n.log,
	})
	return n.wireOutbox()
}

// wireOutbox makes who publishes, when there is somewhere to publish.
func (n *node) wireOutbox() error {
	c := n.config
	if c.DMPEndpoint == "" {
		return nil
	}
	codes, err := c.codes()
	if err != nil {
		return err
	}
	secure, err := c.tls()
	if err != nil {
		return err
	}
	o := publication.SenderOptions{Endpoint: c.DMPEndpoint, Codes: codes, TLS: secure, Timeout: c.DMPTimeout, Sent: n.metrics.Delivered}
	if c.DMPTokenFile != "" {
		o.Token = c.token
	}
	n.sender = n.publication.NewSender(o)
	return nil
}

// publish completes studies, makes their manifests and publishes them, on one
// node of the cluster at a time.
func (n *node) publish(ctx context.Context) error {
	return n.onDuty(ctx, func(ctx context.Context) error {
		var both errgroup.Group
		both.Go(func() error { return n.publication.Run(ctx) })
		if n.sender != nil {
			both.Go(func() error { return n.sender.Run(ctx) })
		}
		return both.Wait()
	})
}

// byManifest is the DICOMweb of what manifests list.
func (n *node) byManifest() http.Handler {
	c := n.config
	known := func(token string) bool {
		_, ok := n.sites.Of("", token, "")
		return ok
	}
	if c.ManifestAuth == "none" {
		known = nil
	}
	retrieval := dicomweb.New(dicomweb.Options{
		Retrieve: n.publication.Listed(n.reader), Root: manifestRoot,
		Limits:    dicomweb.Limits{ReadStall: c.Stall, WriteStall: c.Stall},
		RequestID: httpserver.RequestID, Sent: n.sent, Logger: n.log, Metrics: n.metrics,
	})
	return http.StripPrefix(manifestRoot, n.consistent(n.publication.ByManifest(known, retrieval)))
}

// native is what answers below /v1/ without being a method of the API, by path:
// gateway/rpc/generate/native.json describes it.
func (n *node) native() map[string]http.Handler {
	return map[string]http.Handler{resolvePath: n.publication.Resolver(n.answers("manifests"))}
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
