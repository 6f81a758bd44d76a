package main

import (
	"context"
	"net/http"

	"github.com/esante-alsace/cigogne/cmd/cigogne/httpserver"
	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/gateway/dimse"
	"github.com/esante-alsace/cigogne/gateway/rpc"
)

func (n *node) dicomweb() http.Handler {
	c := n.config
	var visible func(context.Context) error
	if n.cluster != nil {
		visible = n.visible
	}
	return dicomweb.New(dicomweb.Options{
		Visible: visible,
		Store:   n.storer, Search: n.finder, Retrieve: n.reader, Conflicts: n.finder,
		Delete: n.custodian, Deletions: custodyRoot + "/deletions",
		Limits:      dicomweb.Limits{ReadStall: c.Stall, WriteStall: c.Stall, MaxInstance: int64(c.MaxDataSet)},
		CORSOrigins: c.CORS, RequestID: httpserver.RequestID, Sent: n.sent, Logger: n.log, Metrics: n.metrics,
	})
}

func (n *node) newRPC() (*rpc.Server, error) {
	c := n.config
	return rpc.New(rpc.Options{
		Search: n.finder, Retrieve: n.reader, History: n.past, Lives: n.publication, Sent: n.given, Custody: n.custodian, Patients: apiPatients{n.patients}, Publications: n.publication,
		Node: n.report, Gatekeeper: n.keeper,
		Limits:    rpc.Limits{Stall: c.Stall, Rate: c.APIRate},
		RequestID: httpserver.RequestID, Logger: n.log, Metrics: n.metrics,
	})
}

func (n *node) serveDIMSE(ctx context.Context) error {
	return n.scp.Load().Serve(ctx, n.dimse)
}

func (n *node) newSCP() *dimse.Server {
	c := n.config
	return dimse.NewServer(dimse.Config{
		AETitle: c.AETitle, CalledAETitles: c.CalledAE,
		Receiver: n.storer, Committer: n.commitments(), Finder: n.finder,
		Retriever: n.reader, Destinations: n.sites, Sent: n.sent, Gatekeeper: n.keeper, Metrics: n.metrics, Tracer: n.spans.Tracer, Log: n.log,
		MaxPDULength: int(c.MaxPDU), MaxDataSetLength: int64(c.MaxDataSet), AsyncWindow: c.AsyncWindow,
		MaxAssociations: c.MaxAssociations, MaxAssociationsPerAE: c.MaxAssociationsPerAE, MaxMatches: c.MaxMatches,
		MaxRetrievals: c.MaxRetrievals, SuboperationTimeout: c.SuboperationTimeout,
		ARTIM: c.ARTIM, Idle: c.Idle, Grace: c.Grace, Draining: n.draining,
	})
}
