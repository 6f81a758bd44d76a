package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

type findCommand struct {
	remote
	Level   string   `default:"study" enum:"study,series,instance" help:"What is listed: study, series or instance (${default})."`
	Limit   int      `placeholder:"N" help:"Most results; without it as many as the gateway gives at a time."`
	Offset  int      `placeholder:"N" help:"Results that are passed over."`
	Fuzzy   bool     `help:"Match the words of PatientName by their beginning."`
	Columns []string `placeholder:"KEYWORD,..." help:"Attributes that are shown, by keyword or tag, instead of the usual ones."`
	JSON    bool     `name:"json" xor:"form" help:"Write each result as DICOM JSON, one per line."`
	CSV     bool     `name:"csv" xor:"form" help:"Write comma-separated values with a header."`
	Match   []string `arg:"" optional:"" placeholder:"KEYWORD=VALUE" help:"Conditions such as PatientName='Mul*' StudyDate=20260101-20260131 ModalitiesInStudy=CT."`
}

// Validate implements kong's validation hook.
func (f *findCommand) Validate() error {
	for _, m := range f.Match {
		key, _, ok := strings.Cut(m, "=")
		if !ok {
			return fmt.Errorf("%w: %q: write KEYWORD=VALUE, such as PatientID=4711", errUsage, m)
		}
		for part := range strings.SplitSeq(key, ".") { // the sequences that it lies in
			if _, err := dicom.ParseTag(part); err != nil {
				return fmt.Errorf("%w: %s: no attribute has the keyword %s", errUsage, m, part)
			}
		}
	}
	for _, c := range f.Columns {
		if _, err := dicom.ParseTag(c); err != nil {
			return fmt.Errorf("%w: --columns %s: no attribute has this keyword", errUsage, c)
		}
	}
	if f.Limit < 0 || f.Offset < 0 {
		return fmt.Errorf("%w: --limit and --offset: 0 or more", errUsage)
	}
	return nil
}

// findTimeout bounds a search.
const findTimeout = 2 * time.Minute

// Run searches.
func (f *findCommand) Run(ctx context.Context, c console) error {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	gateway, err := f.open(1, findTimeout)
	if err != nil {
		return err
	}
	defer gateway.Close()
	resource := map[string]string{"study": "/studies", "series": "/series", "instance": "/instances"}[f.Level]
	results, warnings, err := gateway.Search(ctx, resource, f.query())
	if err != nil {
		return fmt.Errorf("search at %s: %w", gateway, err)
	}
	for _, w := range warnings {
		fmt.Fprintf(c.err, "cigogne: %s\n", progress.Printable(w))
	}
	switch {
	case f.JSON:
		for _, r := range results {
			fmt.Fprintf(c.out, "%s\n", r)
		}
		return nil
	case f.CSV:
		w := csv.NewWriter(c.out)
		if err := f.rows(results, w.Write); err != nil {
			return err
		}
		w.Flush()
		return w.Error()
	}
	return f.table(c.out, results)
}

// table writes columns for a person, text as it is but for what would move the
// terminal's cursor.
func (f *findCommand) table(out io.Writer, results []json.RawMessage) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	err := f.rows(results, func(row []string) error {
		for i, cell := range row {
			row[i] = progress.Printable(cell)
		}
		_, err := fmt.Fprintln(w, strings.Join(row, "\t"))
		return err
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// rows gives the header and each result.
func (f *findCommand) rows(results []json.RawMessage, write func([]string) error) error {
	columns := f.columns()
	if err := write(columns); err != nil {
		return err
	}
	for _, r := range results {
		var ds dicom.DataSet
		if err := json.Unmarshal(r, &ds); err != nil {
			return fmt.Errorf("the gateway's answer: %w", err)
		}
		row := make([]string, len(columns))
		for i, c := range columns {
			tag, err := dicom.ParseTag(c)
			if err != nil {
				return err
			}
			e, _ := ds.Get(tag)
			row[i] = strings.Join(e.Values, `\`)
		}
		if err := write(row); err != nil {
			return err
		}
	}
	return nil
}

func (f *findCommand) columns() []string {
	if len(f.Columns) > 0 {
		return f.Columns
	}
	switch f.Level {
	case "series":
		return []string{"PatientName", "PatientID", "Modality", "SeriesNumber", "SeriesDescription",
			"NumberOfSeriesRelatedInstances", "StudyInstanceUID", "SeriesInstanceUID"}
	case "instance":
		return []string{"PatientID", "InstanceNumber", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"}
	}
	return []string{"PatientName", "PatientID", "StudyDate", "ModalitiesInStudy", "StudyDescription",
		"NumberOfStudyRelatedInstances", "StudyInstanceUID"}
}

func (f *findCommand) query() url.Values {
	q := url.Values{}
	for _, m := range f.Match {
		key, value, _ := strings.Cut(m, "=")
		q.Add(key, value)
	}
	for _, c := range f.columns() {
		q.Add("includefield", c)
	}
	for key, n := range map[string]int{"limit": f.Limit, "offset": f.Offset} {
		if n > 0 {
			q.Set(key, strconv.Itoa(n))
		}
	}
	if f.Fuzzy {
		q.Set("fuzzymatching", "true")
	}
	return q
}
