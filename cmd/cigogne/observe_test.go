package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/esante-alsace/cigogne/cmd/cigogne/disk"
	"github.com/esante-alsace/cigogne/cmd/cigogne/metrics"
	"github.com/esante-alsace/cigogne/consensus"
	"github.com/esante-alsace/cigogne/consensus/copies"
	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dimse"
)

// named are the series and the labels that something speaks of.
type named struct{ series, labels map[string]bool }

func newNamed() named { return named{map[string]bool{}, map[string]bool{}} }

var (
	promString   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	promLabels   = regexp.MustCompile(`\{([^}]*)\}|\b(?:by|without|on|ignoring|group_left|group_right) *\(([^)]*)\)`)
	promVariable = regexp.MustCompile(`^label_values\((.*), *(\w+)\)$`)
	promRange    = regexp.MustCompile(`\[[^\]]*\]`)
	promWord     = regexp.MustCompile(`[A-Za-z_:][A-Za-z0-9_:]*( *\()?|[0-9][0-9a-z.]*`)
	promFollowed = regexp.MustCompile(`^(and|or|unless|bool|offset)$`)
)

// read adds what a PromQL expression names, or Grafana's query for the values
// of a variable.
func (n named) read(expr string) {
	expr = promString.ReplaceAllString(expr, "")
	if m := promVariable.FindStringSubmatch(expr); m != nil {
		expr, n.labels[m[2]] = m[1], true
	}
	expr = promRange.ReplaceAllString(expr, "")
	for _, m := range promLabels.FindAllStringSubmatch(expr, -1) {
		for _, l := range regexp.MustCompile(`\w+`).FindAllString(m[1]+" "+m[2], -1) {
			n.labels[l] = true
		}
	}
	for _, w := range promWord.FindAllString(promLabels.ReplaceAllString(expr, " "), -1) {
		if w[0] > '9' && !strings.HasSuffix(w, "(") && !promFollowed.MatchString(w) {
			n.series[w] = true
		}
	}
}

func TestNamedByPromQL(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		`up{job="x"} == 0`: "up | job",
		`histogram_quantile(0.99, sum by (le, a) (rate(b_bucket{c=~"d{2}",e!="\""}[5m]))) > 1e3`: "b_bucket | a c e le",
		`a > 0.8 * b and on (x) c offset 5m unless d`:                                            "a b c d | x",
		`label_values(a{b="$b"}, c)`:                                                             "a | b c",
		`sum(rate(a[$__rate_interval])) / count(b) > bool 1`:                                     "a b | ",
	} {
		n := newNamed()
		n.read(expr)
		if got := words(n.series) + " | " + words(n.labels); got != want {
			t.Errorf("%s names %s, not %s", expr, got, want)
		}
	}
}

func words(of map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(of)), " ") }

// TestObservedByName: what the alert rules and the dashboard name is there, on
// one node, in a cluster or with archives in S3.
func TestObservedByName(t *testing.T) {
	t.Parallel()
	there := exported(t)
	rules, dashboard := newNamed(), newNamed()
	for _, r := range alertRules(t) {
		rules.read(r.Expr)
	}
	for _, e := range dashboardQueries(t) {
		dashboard.read(e)
	}
	for file, n := range map[string]named{"alerts.yaml": rules, "dashboard.json": dashboard} {
		if len(n.series) < 10 {
			t.Errorf("%s names only %s", file, words(n.series))
		}
		for s := range n.series {
			if !there.series[s] {
				t.Errorf("%s names %s, which no node has", file, s)
			}
		}
		for l := range n.labels {
			if !there.labels[l] {
				t.Errorf("%s names the label %s, which nothing has", file, l)
			}
		}
	}
	for s := range there.series {
		if strings.HasSuffix(s, "_failing") && !rules.series[s] {
			t.Errorf("no alert watches %s", s)
		}
	}
}

// exported is what nodes say at /metrics: a process that runs alone, what is
// counted only once it happens, and what there is in a cluster alone.
func exported(t *testing.T) named {
	n := newNamed()
	n.series["up"] = true // Prometheus's own, as these labels
	for _, l := range []string{"job", "instance", "le"} {
		n.labels[l] = true
	}
	node := serve(t, t.TempDir(), "--log-level", "error")
	node.ready()
	body, err := get(t.Context(), node.web+"/metrics", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	n.has(string(text))
	m := metrics.New()
	m.Association("accepted")
	m.Operation("C-STORE", dimse.StatusSuccess, 1, time.Second)
	m.Refused("stow", gateway.RefusedUnavailable)
	m.Answered("/studies", http.StatusOK, 1, time.Second)
	m.Called("Search", "OK", time.Second)
	m.S3Answered("put", time.Second, nil)
	m.Cluster(clusterSeen{})
	m.Copies(metrics.Copies{Wanted: func() int { return 2 }, Keeper: copiesSeen{}, Holder: copiesSeen{}, Evacuator: copiesSeen{}})
	m.Facts(metrics.Facts{
		Queues: func(context.Context) ([]metrics.Queue, int64, error) {
			return []metrics.Queue{{Name: metrics.QueuePack}}, 0, nil
		},
		Arrivals:     func() []gateway.Arrival { return []gateway.Arrival{{Site: "A", Last: time.Now()}} },
		Disk:         func() disk.State { return disk.State{Size: 2, Free: 1} },
		Certificates: func() []metrics.Certificate { return []metrics.Certificate{{Name: "peer"}} },
		Budgets:      func() []metrics.Budget { return []metrics.Budget{{Name: "one"}, {Name: "bytes", Bytes: true}} },
		Caches:       func() []metrics.Cache { return []metrics.Cache{{Name: "blocks"}} },
	})
	told := httptest.NewRecorder()
	m.Handler().ServeHTTP(told, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if told.Code != http.StatusOK {
		t.Fatal(told.Body)
	}
	n.has(told.Body.String())
	return n
}

// has adds what a page of metrics has.
func (n named) has(text string) {
	for _, m := range regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? \S+$`).FindAllStringSubmatch(text, -1) {
		n.series[m[1]] = true
		for _, l := range regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`).FindAllStringSubmatch(m[2], -1) {
			n.labels[l[1]] = true
		}
	}
}

// clusterSeen is a cluster of two, copiesSeen are copies of nothing.
type (
	clusterSeen struct{}
	copiesSeen  struct{}
)

func (clusterSeen) Leads() bool                 { return true }
func (clusterSeen) Status() consensus.Status    { return consensus.Status{ID: "n1"} }
func (clusterSeen) Members() []consensus.Member { return nil }
func (clusterSeen) Age() time.Duration          { return 0 }
func (clusterSeen) Failing() error              { return nil }
func (clusterSeen) Draining() bool              { return false }
func (clusterSeen) Overview(context.Context) []consensus.Status {
	return []consensus.Status{{ID: "n1"}, {ID: "n2"}}
}

func (copiesSeen) Status() copies.KeeperStatus { return copies.KeeperStatus{} }
func (copiesSeen) Failing() error              { return nil }
func (copiesSeen) Journals() []string          { return nil }
func (copiesSeen) Left(context.Context) (map[string]gateway.Evacuation, error) {
	return nil, nil
}

// alertRule is a rule in observe/alerts.yaml.
type alertRule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alertRules(t *testing.T) []alertRule {
	b, err := os.ReadFile("observe/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	var all []alertRule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// dashboardQueries are those of observe/dashboard.json.
func dashboardQueries(t *testing.T) []string {
	b, err := os.ReadFile("observe/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Templating struct {
			List []struct{ Type, Query string }
		}
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, v := range file.Templating.List {
		if v.Type == "query" {
			all = append(all, v.Query)
		}
	}
	for _, p := range file.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", p.Title)
		}
		for _, q := range p.Targets {
			all = append(all, q.Expr)
		}
	}
	return all
}

// TestAlertsSayWhatToDo: each rule, in three languages.
func TestAlertsSayWhatToDo(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range alertRules(t) {
		if seen[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		seen[r.Alert] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
		}
		texts := map[string]string{}
		for _, key := range []string{"summary", "summary_fr", "summary_de", "action", "action_fr", "action_de"} {
			text := r.Annotations[key]
			if other := texts[text]; text == "" || other != "" {
				t.Errorf("%s: %s is empty or that of %s", r.Alert, key, other)
			}
			texts[text] = key
		}
	}
}

// TestAlertsFire: Prometheus's own tool takes the rules, and they fire when
// they should.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "observe/alerts.yaml"}, {"test", "rules", "observe/alerts_test.yaml"}} {
		out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s: %v\n%s", args[0], err, out)
		}
	}
}
