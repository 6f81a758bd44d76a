package subject

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// Programs are those of this repository that are measured.
type Programs struct{ Cigogne, Bare string }

// Build builds them into dir. It needs the go command and the source.
func Build(ctx context.Context, dir string) (Programs, error) {
	const module = "github.com/esante-alsace/cigogne/"
	p := Programs{Cigogne: filepath.Join(dir, "cigogne"), Bare: filepath.Join(dir, "bare")}
	for out, pkg := range map[string]string{p.Cigogne: "cmd/cigogne", p.Bare: "benchmarks/cmd/bare"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", out, module+pkg)
		if b, err := cmd.CombinedOutput(); err != nil {
			return p, fmt.Errorf("go build %s: %w: %s", pkg, err, b)
		}
	}
	return p, nil
}

// Cigogne is our node.
type Cigogne struct {
	Program string
	// NoFsync makes the promise of peers that leave the disk alone.
	NoFsync bool
	// Settle is how long a series is quiet before it is packed: 0 keeps
	// packing out of the way.
	Settle time.Duration
	// Compression is that of the packs; "" leaves it to the node.
	Compression string
	Pprof       bool
	// S3 has it put packs into an S3 server of its own on the same disk, of
	// which it keeps at most Cache on its own; "" is nothing.
	S3    bool
	Cache string
	// Mover is where an AE title called subject.Mover listens, HOST:PORT; ""
	// is nowhere.
	Mover string
	// Label tells cases apart that differ in what they hold.
	Label string
}

// Name implements Subject.
func (c Cigogne) Name() string {
	name := "cigogne"
	if c.NoFsync {
		name += " no fsync"
	}
	if c.Label != "" {
		name += " " + c.Label
	}
	return name
}

// Role implements Subject.
func (c Cigogne) Role() result.Role { return result.Ours }

// Promise implements Subject.
func (c Cigogne) Promise() string {
	if c.NoFsync {
		return "--unsafe-no-fsync: lost with the power, kept when the process dies"
	}
	return "journal fsynced before each answer; index rebuilt from it"
}

// never is longer than any run, and than ago anything was received.
const never = 100 * 365 * 24 * time.Hour

// Start implements Subject.
func (c Cigogne) Start(ctx context.Context, dir, host string) (*Running, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var address [3]string
	for i, h := range []string{host, host, "127.0.0.1"} {
		a, _, err := freeAddress(h)
		if err != nil {
			return nil, err
		}
		address[i] = a
	}
	settle := c.Settle
	if settle == 0 {
		settle = never
	}
	args := []string{"serve", "--data-dir", filepath.Join(dir, "data"), "--dimse", address[0], "--http", address[1],
		"--settle", settle.String(), "--log-level", "warn",
		// An index that is given names packs that are not there: to complete
		// studies and to verify packs would fail, over and over.
		"--complete-after", never.String(), "--scrub-rate", "0"}
	at := Endpoints{DIMSE: address[0], AETitle: "CIGOGNE", Web: "http://" + address[1] + "/dicom-web", Dir: dir}
	if !net.ParseIP(host).IsLoopback() {
		args = append(args, "--open")
	}
	if c.NoFsync {
		args = append(args, "--unsafe-no-fsync")
	}
	if c.Mover != "" {
		sites, err := writeMover(dir, c.Mover)
		if err != nil {
			return nil, err
		}
		args = append(args, "--sites", sites)
	}
	if c.Compression != "" {
		args = append(args, "--pack-compression", c.Compression)
	}
	if c.Pprof {
		args = append(args, "--pprof", address[2])
		at.Pprof = "http://" + address[2] + "/debug/pprof"
	}
	if !c.S3 {
		return launch(ctx, exec.CommandContext(ctx, c.Program, args...), at, address[0], address[1])
	}
	server, err := startS3(ctx, filepath.Join(dir, "s3"))
	if err != nil {
		return nil, err
	}
	flags, env := s3Flags(server.Endpoints, cmp.Or(c.Cache, "0"))
	cmd := exec.CommandContext(ctx, c.Program, append(args, flags...)...)
	cmd.Env = append(os.Environ(), env...)
	r, err := launch(ctx, cmd, at, address[0], address[1])
	if err != nil {
		server.Stop()
		return nil, err
	}
	r.behind = server
	return r, nil
}

// Mover is the AE title that subjects know as the destination of a C-MOVE.
const Mover = "MOVESCU"

// writeMover writes a configuration with the address of Mover.
func writeMover(dir, address string) (path string, err error) {
	path = filepath.Join(dir, "sites.yaml")
	sites := fmt.Sprintf("sites:\n  - {name: Mover, issuer: {name: MOVER}, calling-ae: [%s], addresses: {%s: %q}}\n", Mover, Mover, address)
	return path, os.WriteFile(path, []byte(sites), 0o644)
}

// Bare is the receiver that does only what C-STORE cannot leave out.
type Bare struct {
	Program string
	Fsync   bool
}

// Name implements Subject.
func (b Bare) Name() string {
	if b.Fsync {
		return "bare fsync"
	}
	return "bare"
}

// Role implements Subject.
func (b Bare) Role() result.Role { return result.Limit }

// Promise implements Subject.
func (b Bare) Promise() string {
	if b.Fsync {
		return "fsync of each data set's file, not of its directory; checks, indexes and serves nothing"
	}
	return "none: lost with the power; checks, indexes and serves nothing"
}

// Start implements Subject.
func (b Bare) Start(ctx context.Context, dir, host string) (*Running, error) {
	store := filepath.Join(dir, "data")
	if err := os.MkdirAll(store, 0o755); err != nil {
		return nil, err
	}
	addr, _, err := freeAddress(host)
	if err != nil {
		return nil, err
	}
	args := []string{"--listen", addr, "--dir", store}
	if b.Fsync {
		args = append(args, "--fsync")
	}
	return launch(ctx, exec.CommandContext(ctx, b.Program, args...),
		Endpoints{DIMSE: addr, AETitle: "BARE", Dir: dir}, addr)
}
