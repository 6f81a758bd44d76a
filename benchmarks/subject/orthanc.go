package subject

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/esante-alsace/cigogne/benchmarks/result"
)

// Orthanc is Orthanc with its DICOMweb plug-in, its index on SQLite.
type Orthanc struct {
	// PostgreSQL moves the index to a PostgreSQL server of its own.
	PostgreSQL bool
	// NoDelay switches Nagle's algorithm off in its DIMSE server, which its
	// configuration cannot: DCMTK reads TCP_NODELAY from the environment.
	NoDelay bool
	// Associations is how many it serves at once; 0 is its default, 4.
	Associations int
	// Mover is where an AE title called subject.Mover listens, HOST:PORT; ""
	// is nowhere.
	Mover string
}

// Name implements Subject.
func (o Orthanc) Name() string {
	name := "orthanc"
	if o.PostgreSQL {
		name += " postgresql"
	}
	if o.NoDelay {
		name += " nodelay"
	}
	if o.Associations > 0 {
		name += fmt.Sprintf(" %d threads", o.Associations)
	}
	return name
}

// Role implements Subject.
func (o Orthanc) Role() result.Role { return result.Peer }

// Promise implements Subject.
func (o Orthanc) Promise() string {
	p := "SQLite; SyncStorageArea true: fsync of each file; index in WAL mode, synchronous NORMAL: not fsynced"
	if o.PostgreSQL {
		p = "PostgreSQL, fsync and synchronous_commit on; SyncStorageArea true: fsync of each file and of each commit of the index"
	}
	if o.NoDelay {
		p += "; environment TCP_NODELAY=1"
	}
	if o.Associations > 0 {
		p += fmt.Sprintf("; DicomThreadsCount %d", o.Associations)
	}
	return p
}

const (
	orthancWeb        = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
	orthancPostgreSQL = "/usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so"
)

// plugins are the files that it loads.
func (o Orthanc) plugins() []string {
	if o.PostgreSQL {
		return []string{orthancWeb, orthancPostgreSQL}
	}
	return []string{orthancWeb}
}

// Start implements Subject.
func (o Orthanc) Start(ctx context.Context, dir, host string) (*Running, error) {
	path, err := program("Orthanc")
	if err != nil {
		return nil, err
	}
	for _, plugin := range o.plugins() {
		if _, err := os.Stat(plugin); err != nil {
			return nil, fmt.Errorf("%s: %w", plugin, ErrMissing)
		}
	}
	dimse, dimsePort, err := freeAddress(host)
	if err != nil {
		return nil, err
	}
	web, webPort, err := freeAddress(host)
	if err != nil {
		return nil, err
	}
	settings, err := o.settings(dir, dimsePort, webPort)
	if err != nil {
		return nil, err
	}
	var database *Running
	if o.Mover != "" {
		at, port, err := net.SplitHostPort(o.Mover)
		if err != nil {
			return nil, err
		}
		settings["DicomModalities"] = map[string]any{"mover": []string{Mover, at, port}}
	}
	if o.PostgreSQL {
		if database, settings["PostgreSQL"], err = startPostgreSQL(ctx, dir); err != nil {
			return nil, err
		}
	}
	config, err := writeJSON(filepath.Join(dir, "orthanc.json"), settings)
	if err != nil {
		database.Stop()
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, config)
	if o.NoDelay {
		cmd.Env = append(os.Environ(), "TCP_NODELAY=1")
	}
	r, err := launch(ctx, cmd, Endpoints{DIMSE: dimse, AETitle: "ORTHANC", Web: "http://" + web + "/dicom-web", Dir: dir}, dimse, web)
	if err != nil {
		database.Stop()
		return nil, err
	}
	r.behind = database
	return r, nil
}

// settings are Debian's own, with the check of callers off so that any is
// served.
func (o Orthanc) settings(dir, dimsePort, webPort string) (map[string]any, error) {
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	ports := [2]int{}
	for i, p := range []string{dimsePort, webPort} {
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil, err
		}
		ports[i] = n
	}
	return map[string]any{
		"StorageDirectory": data, "IndexDirectory": data, "StorageCompression": false,
		"DicomAet": "ORTHANC", "DicomPort": ports[0], "DicomThreadsCount": cmp.Or(o.Associations, 4),
		"DicomAlwaysAllowStore": true, "DicomAlwaysAllowGet": true, "DicomAlwaysAllowMove": true, "DicomCheckCalledAet": false,
		"HttpPort": ports[1], "RemoteAccessAllowed": true, "AuthenticationEnabled": false,
		"KeepAlive": true, "TcpNoDelay": true, "HttpThreadsCount": 50, "SyncStorageArea": true,
		"OverwriteInstances": false, "UnknownSopClassAccepted": true,
		"Plugins":  o.plugins(),
		"DicomWeb": map[string]any{"Enable": true, "Root": "/dicom-web/"},
	}, nil
}

func writeJSON(path string, v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, b, 0o644)
}
