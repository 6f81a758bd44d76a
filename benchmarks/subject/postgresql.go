package subject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// postgreSQLUser is who PostgreSQL runs as when we are root, whom it refuses.
const postgreSQLUser = "postgres"

// startPostgreSQL starts a server of its own below dir, durable as it is by
// default, and returns what Orthanc has to be told of it.
func startPostgreSQL(ctx context.Context, dir string) (*Running, map[string]any, error) {
	bin, err := postgreSQLPrograms()
	if err != nil {
		return nil, nil, err
	}
	as, err := newOwner(dir)
	if err != nil {
		return nil, nil, err
	}
	data := filepath.Join(dir, "data", "postgresql")
	if err := as.mkdir(data); err != nil {
		return nil, nil, err
	}
	initdb := as.command(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", postgreSQLUser, "-A", "trust", "-E", "UTF8", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("initdb: %w: %.500s", err, out)
	}
	addr, port, err := freeAddress("127.0.0.1")
	if err != nil {
		return nil, nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, nil, err
	}
	logs := filepath.Join(dir, "postgresql")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, nil, err
	}
	server := as.command(ctx, filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-h", "127.0.0.1", "-k", "")
	r, err := launch(ctx, server, Endpoints{Dir: logs}, addr)
	return r, map[string]any{
		"EnableIndex": true, "EnableStorage": false, "Lock": false,
		"Host": "127.0.0.1", "Port": n, "Database": "postgres", "Username": postgreSQLUser, "Password": "",
	}, err
}

// postgreSQLPrograms is where the newest server's programs lie, which Debian
// keeps out of PATH.
func postgreSQLPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", errors.Join(fmt.Errorf("postgres: %w", ErrMissing), err)
	}
	return filepath.Dir(slices.Max(found)), nil
}

// owner is the user whose a server's processes and files are; the zero one is
// who we are.
type owner struct{ credential *syscall.Credential }

// newOwner is postgreSQLUser when we are root, and lets him reach dir.
func newOwner(dir string) (owner, error) {
	if os.Geteuid() != 0 {
		return owner{}, nil
	}
	u, err := user.Lookup(postgreSQLUser)
	if err != nil {
		return owner{}, fmt.Errorf("user %s: %w", postgreSQLUser, ErrMissing)
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	err = errors.Join(uerr, gerr)
	for _, d := range []string{filepath.Dir(dir), dir} {
		err = errors.Join(err, os.Chmod(d, 0o711))
	}
	return owner{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, err
}

func (o owner) mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil || o.credential == nil {
		return err
	}
	return os.Chown(dir, int(o.credential.Uid), int(o.credential.Gid))
}

func (o owner) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: o.credential}
	return cmd
}
