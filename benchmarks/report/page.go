package report

import (
	_ "embed"
	"html/template"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/result"
)

//go:embed page.html
var pageSource string

// page is what page.html shows.
type page struct {
	Latest   *result.File
	Tables   []table
	Verdicts []benchmarks.Verdict
	Scaling  []template.HTML
	History  []template.HTML
}

type table struct {
	Title string
	Head  []string
	Lines []line
}

type line struct {
	Role  result.Role
	Cells []string
}

// Page writes report.html into a directory of results, from all of them, and
// returns its path.
func Page(dir string) (string, error) {
	files, err := result.History(dir)
	if err != nil || len(files) == 0 {
		return "", err
	}
	latest := files[len(files)-1]
	p := page{Latest: latest, Verdicts: benchmarks.Judge(latest), Scaling: scaling(latest), History: history(files)}
	v := view{latest}
	for _, w := range latest.Workloads {
		lines := v.lines(w)
		t := table{Title: w.Title, Head: lines[0]}
		for i, r := range v.primary(w) {
			t.Lines = append(t.Lines, line{r.Role, lines[i+1]})
		}
		p.Tables = append(p.Tables, t)
	}
	source, err := template.New("page").Funcs(template.FuncMap{"cell": cell, "met": met}).Parse(pageSource)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "report.html")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := source.Execute(f, p); err != nil {
		return "", err
	}
	return path, f.Close()
}

// history draws, for each workload, our figures and the limits over the runs
// of the same kind as the latest.
func history(files []*result.File) []template.HTML {
	latest := files[len(files)-1]
	files = slices.DeleteFunc(slices.Clone(files), func(f *result.File) bool { return f.Quick != latest.Quick })
	var all []template.HTML
	for _, w := range latest.Workloads {
		p := plot{title: w.Name, unit: string(w.Primary)}
		for _, f := range files {
			p.ticks = append(p.ticks, f.Commit[:min(len(f.Commit), 6)])
		}
		for _, r := range (view{latest}).primary(w) {
			if r.Role == result.Peer {
				continue
			}
			c := curve{name: r.Subject, role: r.Role}
			for _, f := range files {
				c.y = append(c.y, median(f, w.Name, r.Subject, w.Primary))
			}
			p.curves = append(p.curves, c)
		}
		all = append(all, template.HTML(p.svg())) //nolint:gosec // svg escapes
	}
	return all
}

// median is NaN when it was not measured.
func median(f *result.File, workload, subject string, m result.Measure) float64 {
	if r, ok := f.Row(workload, subject, m); ok {
		return r.Median
	}
	return math.NaN()
}

// numbered splits "wado-study-16" and "line-80-in", "qido-20k" into a family
// and a number.
var numbered = regexp.MustCompile(`^(.*-)(\d+)([km]?)(-.*)?$`)

type member struct {
	number   int
	workload result.Workload
}

// families are workloads that differ in a number, such as of clients.
func families(f *result.File) (names []string, members map[string][]member) {
	members = map[string][]member{}
	for _, w := range f.Workloads {
		m := numbered.FindStringSubmatch(w.Name)
		if m == nil {
			continue
		}
		n, err := strconv.Atoi(m[2])
		if err != nil {
			continue
		}
		n *= map[string]int{"": 1, "k": 1000, "m": 1_000_000}[m[3]]
		name := m[1] + "N" + m[4]
		if len(members[name]) == 0 {
			names = append(names, name)
		}
		members[name] = append(members[name], member{n, w})
	}
	return names, members
}

// scaling draws the latest figures of families over their number.
func scaling(f *result.File) []template.HTML {
	var all []template.HTML
	names, members := families(f)
	for _, name := range names {
		of := members[name]
		if len(of) < 2 {
			continue
		}
		measure := of[0].workload.Primary
		p := plot{title: name, unit: string(measure)}
		var subjects []result.Row
		for _, m := range of {
			p.ticks = append(p.ticks, strconv.Itoa(m.number))
			for _, r := range (view{f}).primary(m.workload) {
				if !slices.ContainsFunc(subjects, func(s result.Row) bool { return s.Subject == r.Subject }) {
					subjects = append(subjects, r)
				}
			}
		}
		for _, s := range subjects {
			c := curve{name: s.Subject, role: s.Role}
			for _, m := range of {
				c.y = append(c.y, median(f, m.workload.Name, s.Subject, measure))
			}
			p.curves = append(p.curves, c)
		}
		all = append(all, template.HTML(p.svg())) //nolint:gosec // svg escapes
	}
	return all
}
