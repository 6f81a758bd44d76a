package ops

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// TestFindings: what is found when one thing is not well, and where it begins
// to be.
func TestFindings(t *testing.T) {
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	for _, c := range []struct {
		name   string
		change func(r *Report) // n2's
		want   []string
	}{
		{"well", func(*Report) {}, nil},
		{"a disk at 94 of 100", func(r *Report) { r.Disk = Space{Used: 94, Most: 100} }, nil},
		{"a disk at 96 of 100", func(r *Report) { r.Disk = Space{Used: 96, Most: 100} }, []string{"trouble finding.disk.full"}},
		{"a disk that is unknown", func(r *Report) { r.Disk = Space{} }, nil},
		{"a disk that fills, far from full", func(r *Report) { r.Disk = Space{Used: 50, Most: 100, Full: in(time.Hour)} }, nil},
		{"a disk that fills", func(r *Report) { r.Disk = Space{Used: 70, Most: 100, Full: in(23 * time.Hour)} }, []string{"warning finding.disk.filling"}},
		{"a disk that fills slowly", func(r *Report) { r.Disk = Space{Used: 70, Most: 100, Full: in(30 * time.Hour)} }, nil},
		{"a journal at 81 of 100", func(r *Report) { r.Journal = Space{Used: 81, Most: 100} }, []string{"trouble finding.journal.full"}},
		{"a journal without a limit", func(r *Report) { r.Journal = Space{Used: 1 << 50} }, nil},
		{"a certificate for 22 days", func(r *Report) { r.Certificates[0].Expires = in(22 * 24 * time.Hour) }, nil},
		{"a certificate for 20 days", func(r *Report) { r.Certificates[0].Expires = in(20 * 24 * time.Hour) }, []string{"warning finding.certificate"}},
		{"a certificate that ended", func(r *Report) { r.Certificates[0].Expires = in(-time.Hour) }, []string{"trouble finding.certificate.ended"}},
		{"one archive of two", func(r *Report) { r.Archives[0] = Archive{Name: "s3://bucket", Why: "refused"} }, []string{"warning finding.archive"}},
		{"too few archives", func(r *Report) {
			r.Archives[0] = Archive{Name: "s3://bucket", Why: "refused"}
			r.Checks = append(r.Checks, Check{Name: "archive", Why: "refused"})
		}, []string{"trouble finding.check.archive"}},
		{"draining, and not ready for that", func(r *Report) {
			r.Standing.Draining = true
			r.Checks = append(r.Checks, Check{Name: "cluster", Why: "the node drains"})
		}, []string{"notice finding.draining"}},
		{"waiting a moment for the index", func(r *Report) { r.Queues[0] = Queue{Kind: QueueIndexing, Waiting: 5, Oldest: in(-time.Second)} }, nil},
		{"waiting for the index", func(r *Report) { r.Queues[0] = Queue{Kind: QueueIndexing, Waiting: 5, Oldest: in(-2 * time.Minute)} }, []string{"warning finding.late"}},
		{"not seeing another", func(r *Report) { r.Sees[1] = Sight{Node: "n3", Why: "no route"} }, []string{"warning finding.cut"}},
	} {
		r := calm()
		changed := r.reports["n2"]
		c.change(&changed)
		r.reports["n2"] = changed
		d := NewDesk(self{r}, r)
		d.look(t.Context())
		p := d.Picture(t.Context())
		var got []string
		for _, f := range p.Findings() {
			got = append(got, f.Level.String()+" "+f.What)
			if f.Action == "" && f.Actions == nil && f.What != "finding.check.archive" || len(f.SeenBy) == 0 {
				t.Errorf("%s: nothing to do, or seen by nobody: %+v", c.name, f)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestFindingsOfSeveral: what several nodes find is one finding, and the worst
// comes first.
func TestFindingsOfSeveral(t *testing.T) {
	r := calm()
	for _, name := range []string{"n1", "n2"} {
		one := r.reports[name]
		one.Disk = Space{Used: 99, Most: 100}
		one.Certificates[1].Expires = time.Now().Add(time.Hour)
		r.reports[name] = one
	}
	r.down["n3"] = errors.New("connection refused")
	d := NewDesk(self{r}, r)
	d.look(t.Context())
	p := d.Picture(t.Context())
	all := p.Findings()
	if len(all) != 3 || all[0].What != "finding.cut" && all[0].Level != Trouble || all[2].Level != Warning {
		t.Fatalf("%+v", all)
	}
	for _, f := range all {
		if f.What == "finding.disk.full" && (f.Args["node"] != "n1, n2" || !slices.Equal(f.SeenBy, []string{"n1", "n2"})) {
			t.Errorf("%+v", f)
		}
	}
}
