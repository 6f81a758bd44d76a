// Package completion writes the scripts by which shells complete commands and
// flags, made of the commands as they are.
package completion

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Write writes the script for a shell: bash, zsh or fish.
func Write(w io.Writer, shell string, root *kong.Node) error {
	if shell == "fish" {
		return fish(w, root, nil)
	}
	if shell == "zsh" {
		if _, err := io.WriteString(w, "autoload -U +X compinit bashcompinit && compinit -u && bashcompinit\n"); err != nil {
			return err
		}
	}
	return bash(w, root)
}

// bash follows the words that were typed to a command, and offers its commands
// and flags; for anything else files.
func bash(w io.Writer, root *kong.Node) error {
	var steps, offers strings.Builder
	var visit func(n *kong.Node, path string, above []string)
	visit = func(n *kong.Node, path string, above []string) {
		flags := append(above[:len(above):len(above)], flagsOf(n)...)
		words := flags[:len(flags):len(flags)]
		for _, child := range commandsOf(n) {
			fmt.Fprintf(&steps, "      %q) at=%q;;\n", path+" "+child.Name, path+" "+child.Name)
			words = append(words, child.Name)
		}
		fmt.Fprintf(&offers, "    %q) words=%q;;\n", path, strings.Join(words, " "))
		for _, child := range commandsOf(n) {
			visit(child, path+" "+child.Name, flags)
		}
	}
	visit(root, "", nil)
	_, err := fmt.Fprintf(w, `_cigogne() {
  local at="" word words=""
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$at $word" in
%s    esac
  done
  case "$at" in
%s  esac
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _cigogne cigogne
`, steps.String(), offers.String())
	return err
}

// fish offers the commands and flags of each command with what they
// are for.
func fish(w io.Writer, n *kong.Node, path []string) error {
	var conditions []string
	for _, p := range path {
		conditions = append(conditions, "__fish_seen_subcommand_from "+p)
	}
	here := strings.Join(conditions, "; and ")
	if len(path) == 0 {
		here = "__fish_use_subcommand"
	}
	for _, f := range n.Flags {
		if f.Hidden {
			continue
		}
		if _, err := fmt.Fprintf(w, "complete -c cigogne -n '%s' -l %s -d '%s'\n", here, f.Name, fishText(f.Help)); err != nil {
			return err
		}
	}
	for _, child := range commandsOf(n) {
		if _, err := fmt.Fprintf(w, "complete -c cigogne -n '%s' -f -a %s -d '%s'\n", here, child.Name, fishText(child.Help)); err != nil {
			return err
		}
		if err := fish(w, child, append(path[:len(path):len(path)], child.Name)); err != nil {
			return err
		}
	}
	return nil
}

func fishText(s string) string { return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) }

func commandsOf(n *kong.Node) (all []*kong.Node) {
	for _, child := range n.Children {
		if child.Type == kong.CommandNode && !child.Hidden {
			all = append(all, child)
		}
	}
	return all
}

func flagsOf(n *kong.Node) (all []string) {
	for _, f := range n.Flags {
		if !f.Hidden {
			all = append(all, "--"+f.Name)
		}
	}
	return all
}
