package main

import (
	"github.com/alecthomas/kong"

	"github.com/esante-alsace/cigogne/cmd/cigogne/completion"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help tells what flags cannot.
func (*completionCommand) Help() string {
	return `Call it where the shell begins, such as in .bashrc:

  source <(cigogne completion bash)
  source <(cigogne completion zsh)
  cigogne completion fish | source`
}

// Run prints a script for the shell, made of the commands as they are.
func (c *completionCommand) Run(k *kong.Context, to console) error {
	return completion.Write(to.out, c.Shell, k.Model.Node)
}
