package subject

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// DCMQRSCP is DCMTK's archive.
type DCMQRSCP struct{}

// Name implements Subject.
func (DCMQRSCP) Name() string { return "dcmqrscp" }

// Role implements Subject.
func (DCMQRSCP) Role() result.Role { return result.Peer }

// Promise implements Subject.
func (DCMQRSCP) Promise() string { return "none: no fsync; lost with the power" }

// Start implements Subject.
func (DCMQRSCP) Start(ctx context.Context, dir, host string) (*Running, error) {
	path, err := program("dcmqrscp")
	if err != nil {
		return nil, err
	}
	store := filepath.Join(dir, "data")
	if err := os.MkdirAll(store, 0o755); err != nil {
		return nil, err
	}
	addr, port, err := freeAddress(host)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`NetworkTCPPort = %s
MaxPDUSize = 131072
MaxAssociations = 64
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQRSCP %s RW (100000, 100gb) ANY
AETable END
`, port, store)
	file := filepath.Join(dir, "dcmqrscp.cfg")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	return launch(ctx, exec.CommandContext(ctx, path, "-c", file), Endpoints{DIMSE: addr, AETitle: "DCMQRSCP", Dir: dir}, addr)
}

// Nginx serves files, as fast as HTTP goes.
type Nginx struct{}

// Name implements Subject.
func (Nginx) Name() string { return "nginx" }

// Role implements Subject.
func (Nginx) Role() result.Role { return result.Limit }

// Promise implements Subject.
func (Nginx) Promise() string { return "stores nothing; sendfile of files that lie ready" }

// Start implements Subject.
func (Nginx) Start(ctx context.Context, dir, host string) (*Running, error) {
	path, err := program("nginx")
	if err != nil {
		return nil, err
	}
	files := filepath.Join(dir, "files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return nil, err
	}
	addr, _, err := freeAddress(host)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`daemon off;
user root;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log;
events { worker_connections 256; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server { listen %[2]s; root %[3]s; }
}
`, dir, addr, files)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	return launch(ctx, exec.CommandContext(ctx, path, "-c", file, "-p", dir),
		Endpoints{Files: "http://" + addr, Dir: files}, addr)
}

// Client is a limit that has no server: a case's own driver does the work.
type Client struct{ Title, Safe string }

// Name implements Subject.
func (c Client) Name() string { return c.Title }

// Role implements Subject.
func (c Client) Role() result.Role { return result.Limit }

// Promise implements Subject.
func (c Client) Promise() string { return c.Safe }

// Start implements Subject.
func (c Client) Start(_ context.Context, dir, _ string) (*Running, error) {
	return Idle(dir), os.MkdirAll(dir, 0o755)
}
