package main

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestNamedCommands: a command that pages, alerts, errors or documents tell a
// person to call is one that there is, with its flags.
func TestNamedCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("reads all that is written, and nothing beside it runs")
	}
	parser, err := newParser(nil, nil, io.Discard, io.Discard, func() {})
	if err != nil {
		t.Fatal(err)
	}
	// As it stands in quotes of one language or another, or begins a line.
	call := regexp.MustCompile("(?m)(?:[‘„'`]|«\u00a0|« |«\\\\u00a0|^(?:\\$ )?(?:\\./)?)cigogne ([a-z][^’“'`»#\\n\\\\]*)")
	named := 0
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "benchmarks" || d.Name() == ".git") { // where cigogne is one of those measured
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, "_test.go") || !slices.Contains([]string{".go", ".md", ".json", ".yaml", ".js", ".html"}, filepath.Ext(path)) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range call.FindAllStringSubmatch(string(text), -1) {
			named++
			if wrong := unknownWord(parser.Model.Node, m[1]); wrong != "" {
				t.Errorf("%s: cigogne %s: there is no %s", path, m[1], wrong)
			}
		}
		return nil
	})
	if err != nil || named < 80 {
		t.Errorf("%d commands are named: is this test blind? %v", named, err)
	}
}

// unknownWord is the first word that is no command below n, or no flag of it.
func unknownWord(n *kong.Node, words string) string {
	for _, word := range strings.Fields(words) {
		name, isFlag := strings.CutPrefix(strings.Trim(word, ".,:;)"), "--")
		if isFlag {
			name, _, _ = strings.Cut(name, "=")
			known := map[string]bool{"help": true}
			for above := n; above != nil; above = above.Parent {
				for _, f := range above.Flags {
					known[f.Name] = true
				}
			}
			if !known[name] {
				return word
			}
			continue
		}
		commands := slices.DeleteFunc(slices.Clone(n.Children), func(c *kong.Node) bool { return c.Type != kong.CommandNode })
		if len(commands) == 0 { // its arguments
			continue
		}
		var child *kong.Node
		for one := range strings.SplitSeq(name, "|") {
			at := slices.IndexFunc(commands, func(c *kong.Node) bool { return c.Name == one })
			if at < 0 {
				return one
			}
			child = commands[at]
		}
		n = child
	}
	return ""
}
