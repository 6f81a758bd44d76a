package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/esante-alsace/cigogne/consensus"
)

// Cluster is what a node knows of its cluster.
type Cluster interface {
	Leads() bool
	Status() consensus.Status
	Members() []consensus.Member
	Age() time.Duration
	Failing() error
	Draining() bool
	// Overview is how all nodes are; State is "unreachable" of one that does not
	// answer.
	Overview(context.Context) []consensus.Status
}

// Cluster adds what the node knows of its cluster.
func (m *Metrics) Cluster(c Cluster) {
	m.registry.MustRegister(m.applies, newNodeCollector(c))
	m.gauge("cigogne_cluster_leads", "1 while this node leads.", func() float64 { return truth(c.Leads()) })
	m.gauge("cigogne_cluster_term", "Number of the election that was last.", func() float64 { return float64(c.Status().Term) })
	m.gauge("cigogne_cluster_members", "Nodes that belong to the cluster.", func() float64 { return float64(len(c.Members())) })
	m.gauge("cigogne_cluster_committed", "Last entry of the log that this node knows to be committed.", func() float64 { return float64(c.Status().Commit) })
	m.gauge("cigogne_cluster_applied", "Last entry of the log that the index has.", func() float64 { return float64(c.Status().Applied) })
	m.gauge("cigogne_cluster_log_entries", "Entries in the log on disk.", func() float64 {
		s := c.Status()
		return float64(s.LastLog - min(s.FirstLog, s.LastLog))
	})
	m.gauge("cigogne_cluster_age_seconds", "How far the index may be behind the cluster.", func() float64 { return c.Age().Seconds() })
	m.failing("cigogne_cluster_failing", "1 while the index does not take what the cluster decides.", c.Failing)
	m.gauge("cigogne_cluster_draining", "1 while the node takes nothing new.", func() float64 { return truth(c.Draining()) })
}

// nodeCollector asks the other nodes when metrics are asked for.
type nodeCollector struct {
	Cluster
	reachable, behind *prometheus.Desc
}

func newNodeCollector(c Cluster) *nodeCollector {
	return &nodeCollector{
		Cluster:   c,
		reachable: desc("cluster_node_reachable", "1 while another node answers this one.", "node"),
		behind:    desc("cluster_node_lag_entries", "Decided entries that the index of another node does not have yet, as the leader sees it.", "node"),
	}
}

// Describe implements prometheus.Collector.
func (c *nodeCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.reachable
	to <- c.behind
}

// Collect implements prometheus.Collector. It takes up to a second when a node
// does not answer.
func (c *nodeCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	g := gathering(to)
	leads, self := c.Leads(), c.Status()
	for _, s := range c.Overview(ctx) {
		if s.ID == self.ID {
			continue
		}
		if s.State == "unreachable" {
			g.gauge(c.reachable, 0, s.ID)
			continue
		}
		g.gauge(c.reachable, 1, s.ID)
		if leads {
			g.gauge(c.behind, float64(self.Commit-min(s.Applied, self.Commit)), s.ID)
		}
	}
}
