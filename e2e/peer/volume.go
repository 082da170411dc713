package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/adler32"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/fluxcd/pkg/artifact/config"
	"github.com/fluxcd/pkg/artifact/digest"
	"github.com/fluxcd/pkg/artifact/server"
	"github.com/fluxcd/pkg/artifact/storage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const kind = "ExternalArtifact"

func options(root, address string) *config.Options {
	return &config.Options{
		StoragePath:              root,
		StorageAddress:           address,
		StorageAdvAddress:        address,
		ArtifactRetentionTTL:     time.Minute,
		ArtifactRetentionRecords: 2,
	}
}

// store archives a folder on a volume as source-watcher does: it takes the lock of a file that is named by a checksum of the content,
// and publishes it under the digest of the tarball. The lock file stays.
func store(root, address, algorithm, namespace, name, dir string, out io.Writer) error {
	canonical, err := digest.AlgorithmForName(algorithm)
	if err != nil {
		return err
	}
	digest.Canonical = canonical
	volume, err := storage.New(options(root, address))
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	sum, err := checksum(dir, name)
	if err != nil {
		return err
	}
	object := &metav1.ObjectMeta{Namespace: namespace, Name: name}
	artifact := volume.NewArtifactFor(kind, object, "", fmt.Sprintf("%d.tar.gz", sum))
	if err := volume.MkdirAll(artifact); err != nil {
		return err
	}
	unlock, err := volume.Lock(artifact)
	if err != nil {
		return err
	}
	defer unlock()
	if err := volume.Archive(&artifact, dir, storage.SourceIgnoreFilter(nil, nil)); err != nil {
		return err
	}
	artifact.Revision = "latest@" + artifact.Digest
	return json.NewEncoder(out).Encode(artifact)
}

// checksum is the Adler-32 over one line for each file: the Adler-32 of its content, and its path with the artifact's name in front.
func checksum(dir, name string) (uint32, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	var lines []string
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return 0, err
		}
		lines = append(lines, fmt.Sprintf("%s/%s\x00%x", name, filepath.ToSlash(relative), adler32.Checksum(content)))
	}
	sort.Strings(lines)
	var text strings.Builder
	for _, line := range lines {
		path, sum, _ := strings.Cut(line, "\x00")
		fmt.Fprintf(&text, "%s  %s\n", sum, path)
	}
	return adler32.Checksum([]byte(text.String())), nil
}

// serve is the SDK's file server, until it is told to end.
func serve(root, address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return server.Start(ctx, options(root, address))
}

// An entry of the inventory of an ArtifactGenerator.
type entry struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Digest    string `json:"digest"`
	Filename  string `json:"filename"`
}

// check reads an inventory and asks the SDK what source-watcher asks it before it leaves a file alone. It prints one line for each
// entry: ok, missing or corrupted.
func check(root string, in io.Reader, out io.Writer) error {
	var inventory []entry
	if err := json.NewDecoder(in).Decode(&inventory); err != nil {
		return err
	}
	volume, err := storage.New(options(root, "localhost:9090"))
	if err != nil {
		return err
	}
	for _, entry := range inventory {
		object := &metav1.ObjectMeta{Namespace: entry.Namespace, Name: entry.Name}
		artifact := volume.NewArtifactFor(kind, object, "", entry.Filename)
		artifact.Digest = entry.Digest
		verdict := "ok"
		if !volume.ArtifactExist(artifact) {
			verdict = "missing"
		} else if err := volume.VerifyArtifact(artifact); err != nil {
			verdict = "corrupted: " + err.Error()
		}
		fmt.Fprintln(out, verdict)
	}
	return nil
}
