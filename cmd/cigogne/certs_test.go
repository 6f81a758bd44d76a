package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/consensus/peer"
)

func TestCertificatesAreMade(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"n1", "n2"}, {"n3", "--operator", "odile"}} { // the second time with the same CA
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"certs", "--dir", dir}, args...), nil, &out, &errs); code != exitOK {
			t.Fatalf("%d: %s", code, errs.String())
		}
		if !strings.Contains(out.String(), args[0]) {
			t.Errorf("%s", out.String())
		}
	}
	for name, want := range map[string]peer.Role{"n1": peer.RoleNode, "n3": peer.RoleNode, "odile": peer.RoleOperator} {
		c, err := peer.Load(filepath.Join(dir, name))
		if err != nil || c.Identity != (peer.Identity{Role: want, Name: name}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, args := range [][]string{{}, {"N1"}, {"../n1"}, {"n1", "--days", "0"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"certs", "--dir", dir}, args...), nil, &out, &errs); code != exitUsage {
			t.Errorf("%q: %d %s", args, code, errs.String())
		}
	}
}
