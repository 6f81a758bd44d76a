package main

import (
	"github.com/esante-alsace/cigogne/gateway"
)

// identitiesRoot is the path of identities and of the queue about them.
const identitiesRoot = "/identities"

// people are the use cases of whose identifiers are one person's.
type people struct {
	patients   *gateway.Patients
	identities *gateway.IdentityKeeper
}

func (n *node) wirePeople() {
	n.identities = gateway.NewIdentityKeeper(n.index, n.proposer, n.archives.Archive, n.log)
	n.patients = gateway.NewPatients(gateway.PatientsOptions{
		Index: n.index, Indexer: n.indexer, Proposer: n.proposer, Sites: n.sites, Realm: n.config.realm(), Changed: n.identities.Changed, Logger: n.log,
	})
}
