package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// nativeFile describes what answers below /v1/ without being a method of a
// service, because it takes something else than a message.
const nativeFile = "native.json"

// openAPI is a description of REST (OpenAPI 2) as the plugin makes it: all
// keys that it has at the top, so that none is lost.
type openAPI struct {
	Swagger     string                     `json:"swagger,omitempty"`
	Info        json.RawMessage            `json:"info,omitempty"`
	Tags        []json.RawMessage          `json:"tags,omitempty"`
	Consumes    []string                   `json:"consumes,omitempty"`
	Produces    []string                   `json:"produces,omitempty"`
	Paths       map[string]json.RawMessage `json:"paths,omitempty"`
	Definitions map[string]json.RawMessage `json:"definitions,omitempty"`
}

func readOpenAPI(text []byte) (*openAPI, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	o := &openAPI{}
	return o, d.Decode(o)
}

// withNative adds what is in nativeFile to a description that was generated.
func withNative(generated string) (string, error) {
	text, err := os.ReadFile(nativeFile)
	if err != nil {
		return "", err
	}
	return merge([]byte(generated), text)
}

// merge adds the tags, paths and definitions of a fragment, none of which the
// description may have already.
func merge(generated, fragment []byte) (string, error) {
	to, err := readOpenAPI(generated)
	if err != nil {
		return "", fmt.Errorf("what was generated: %w", err)
	}
	from, err := readOpenAPI(fragment)
	if err != nil {
		return "", fmt.Errorf("%s: %w", nativeFile, err)
	}
	to.Tags = append(to.Tags, from.Tags...)
	if err := addNew(to.Paths, from.Paths); err != nil {
		return "", err
	}
	if err := addNew(to.Definitions, from.Definitions); err != nil {
		return "", err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(to)
	return out.String(), err
}

func addNew(to, from map[string]json.RawMessage) error {
	for name, what := range from {
		if _, there := to[name]; there {
			return fmt.Errorf("%s: %s is generated already", nativeFile, name)
		}
		to[name] = what
	}
	return nil
}
