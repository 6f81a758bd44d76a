package dicomweb

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// maxPath bounds the sequences that a matching key may lie in.
const maxPath = 8

// question is what a query string asks for.
type question struct {
	index.Query
	// most is the most results to answer with; bounded tells that this is
	// this node's bound and not the client's wish.
	most     int
	bounded  bool
	warnings []string // PS3.18 §8.3.4
}

// parseQuestion reads the query parameters of QIDO-RS (PS3.18 §8.3.4). Every
// parameter must be understood: to ignore one would answer with more, maybe
// with other patients, than was asked for. The exceptions are accept, which
// negotiation has read, charset, as answers are in UTF-8 always, orderby of
// dcm4chee's clients, which gets a warning, and names that begin with an
// underscore, with which clients pass caches by. An attribute of includefield
// that is not known gets a warning too. The error wraps storage.ErrInvalid.
func parseQuestion(raw string, level index.Level, l Limits) (question, error) {
	q := question{Query: index.Query{Level: level}, most: l.MaxResults, bounded: true}
	switch {
	case len(raw) > l.MaxQuery:
		return q, badParameter("the query is longer than %d bytes", l.MaxQuery)
	case strings.Count(raw, "&") >= l.MaxParameters:
		return q, badParameter("more than %d parameters", l.MaxParameters)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, badParameter("the query is not form-encoded")
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names) // the same question for the same parameters
	for _, name := range names {
		if err := q.take(name, values[name], l); err != nil {
			return q, err
		}
	}
	return q, nil
}

func badParameter(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{storage.ErrInvalid}, args...)...)
}

// take reads one parameter with all its values.
func (q *question) take(name string, values []string, l Limits) error {
	if name == "includefield" {
		return q.include(values, l.MaxParameters)
	}
	switch {
	case name == "accept", name == "charset", strings.HasPrefix(name, "_"):
		return nil
	case name == "orderby":
		q.warnings = append(q.warnings, "The orderby parameter is not supported. Studies come newest first.")
		return nil
	}
	if len(values) != 1 {
		return badParameter("parameter %q is given %d times", clip(name), len(values))
	}
	value := values[0]
	switch name {
	case "limit":
		return q.limit(value, l)
	case "offset":
		n, err := count(name, value)
		q.Offset = n
		return err
	case "fuzzymatching":
		on, err := boolean(name, value)
		q.Fuzzy = on
		return err
	case "emptyvaluematching", "multiplevaluematching":
		on, err := boolean(name, value)
		if on {
			q.warnings = append(q.warnings, "The "+name+" parameter is not supported. Only literal matching has been performed.")
		}
		return err
	}
	return q.match(name, value)
}

func (q *question) limit(value string, l Limits) error {
	n, err := count("limit", value)
	if err == nil && n <= l.MaxResults {
		q.most, q.bounded = n, false
	}
	return err
}

// count reads a number of results.
func count(name, value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return 0, badParameter("%s must be a number from 0 to 2147483647", name)
	}
	return int(n), nil
}

func boolean(name, value string) (bool, error) {
	switch strings.ToLower(value) { // str(True) of Python is True
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, badParameter("%s must be true or false", name)
}

// match takes an attribute to match: a keyword or eight hexadecimal digits,
// preceded by the sequences it lies in and parted by dots. What is matched is
// also returned (PS3.18 §10.6.3.3).
func (q *question) match(name, value string) error {
	path, err := attributePath(name)
	if err != nil {
		return err
	}
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		return badParameter("the value of %q is not UTF-8 text", clip(name))
	}
	q.Match = append(q.Match, index.Condition{Path: path, Value: value})
	q.addInclude(path[0])
	return nil
}

// warnIgnored tells of the attributes that the index does not match at this
// level (PS3.18 §8.3.4.1), for the client to see that the answer is wider than
// its question. The error wraps storage.ErrInvalid when the question as a
// whole is nonsense.
func (q *question) warnIgnored() error {
	compiled, err := index.Compile(q.Query)
	if err != nil {
		return err
	}
	var ignored []string
	for _, c := range compiled.Ignored() {
		path := make([]string, len(c.Path))
		for i, tag := range c.Path {
			path[i] = tag.String()
		}
		ignored = append(ignored, strings.Join(path, "."))
	}
	if ignored != nil {
		q.warnings = append(q.warnings, "These attributes are not supported for matching at this level and were ignored: "+
			strings.Join(ignored, ", "))
	}
	return nil
}

func attributePath(name string) ([]dicom.Tag, error) {
	if strings.Count(name, ".") >= maxPath {
		return nil, badParameter("attribute %q lies deeper than %d sequences", clip(name), maxPath-1)
	}
	var path []dicom.Tag
	for part := range strings.SplitSeq(name, ".") {
		tag, err := dicom.ParseTag(part)
		if err != nil {
			return nil, badParameter("%q is neither a parameter of QIDO-RS nor an attribute", clip(name))
		}
		path = append(path, tag)
	}
	return path, nil
}

// include takes includefield: attributes, lists of them, or all.
func (q *question) include(values []string, most int) error {
	var unknown []string
	for _, list := range values {
		if most -= strings.Count(list, ",") + 1; most < 0 {
			return badParameter("includefield lists too many attributes")
		}
		for name := range strings.SplitSeq(list, ",") {
			switch name = strings.TrimSpace(name); name {
			case "":
			case "all":
				q.IncludeAll = true
			default:
				path, err := attributePath(name)
				if err != nil {
					unknown = append(unknown, clip(name))
					continue
				}
				q.addInclude(path[0]) // of a path the whole sequence
			}
		}
	}
	if unknown != nil {
		q.warnings = append(q.warnings, "These attributes of includefield are not known and were ignored: "+
			strings.Map(warningText, strings.Join(unknown[:min(len(unknown), 10)], ", ")))
	}
	return nil
}

func (q *question) addInclude(tag dicom.Tag) {
	if !slices.Contains(q.Include, tag) {
		q.Include = append(q.Include, tag)
	}
}

// clip shortens what a client wrote for an error text.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
