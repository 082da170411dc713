// Command peer archives a folder the way a Flux controller built on the Go
// artifact SDK does, and says what that controller would publish.
//
//	peer DIR OUT.tar.gz
//
// It prints one line of JSON: digest, revision and size of the archive. The
// ignore list is the one source-watcher uses: version control files and the
// SDK's defaults, no patterns of its own.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/artifact/config"
	"github.com/fluxcd/pkg/artifact/storage"
)

// published is what the peer prints: the fields a consumer compares.
type published struct {
	Digest   string `json:"digest"`
	Revision string `json:"revision"`
	Size     int64  `json:"size"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: peer DIR OUT.tar.gz")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(dir, out string) error {
	// The SDK names an entry relative to the folder only if that is absolute.
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	out, err = filepath.Abs(out)
	if err != nil {
		return err
	}
	store, err := storage.New(&config.Options{
		StoragePath:              filepath.Dir(out),
		StorageAddress:           "localhost:9090",
		ArtifactRetentionTTL:     time.Minute,
		ArtifactRetentionRecords: 2,
	})
	if err != nil {
		return err
	}
	artifact := meta.Artifact{Path: filepath.Base(out)}
	if err := store.Archive(&artifact, dir, storage.SourceIgnoreFilter(nil, nil)); err != nil {
		return err
	}
	result := published{Digest: artifact.Digest, Revision: "latest@" + artifact.Digest}
	if artifact.Size != nil {
		result.Size = *artifact.Size
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
