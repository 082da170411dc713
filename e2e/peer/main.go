// Command peer does what a Flux controller built on the Go artifact SDK does
// with its files.
//
//	peer DIR OUT.tar.gz
//	peer store ROOT ADDRESS ALGORITHM NAMESPACE NAME DIR
//	peer serve ROOT ADDRESS
//	peer check ROOT < INVENTORY
//	peer compare < QUESTIONS
//
// The first archives a folder and prints one line of JSON: digest, revision and
// size of the archive. The others work on a volume, as source-watcher would:
// store prints the artifact as ExternalArtifacts have it, check one line for
// each entry of an inventory. compare answers many questions, JSON to JSON, in
// one process: see compare.go. Elsewhere the ignore list is the one source-watcher uses:
// version control files and the SDK's defaults, no patterns of its own.
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
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 7 && args[0] == "store":
		return store(args[1], args[2], args[3], args[4], args[5], args[6], os.Stdout)
	case len(args) == 3 && args[0] == "serve":
		return serve(args[1], args[2])
	case len(args) == 2 && args[0] == "check":
		return check(args[1], os.Stdin, os.Stdout)
	case len(args) == 1 && args[0] == "compare":
		return compare(os.Stdin, os.Stdout)
	case len(args) == 2:
		return archive(args[0], args[1])
	}
	return fmt.Errorf("usage: peer DIR OUT.tar.gz | store ROOT ADDRESS ALGORITHM NAMESPACE NAME DIR | serve ROOT ADDRESS | check ROOT | compare")
}

func archive(dir, out string) error {
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
