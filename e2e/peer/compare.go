package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/artifact/config"
	"github.com/fluxcd/pkg/artifact/digest"
	"github.com/fluxcd/pkg/artifact/storage"
	"github.com/fluxcd/pkg/sourceignore"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// questions are many calls of the SDK in one process. The answers have the same lists, in the same order.
type questions struct {
	Archives    []archiveQuestion    `json:"archives"`
	Names       []nameQuestion       `json:"names"`
	Collections []collectionQuestion `json:"collections"`
	Writes      []writeQuestion      `json:"writes"`
	Verdicts    []verdictQuestion    `json:"verdicts"`
}

type answers struct {
	Archives    []archiveAnswer    `json:"archives"`
	Names       []nameAnswer       `json:"names"`
	Collections []collectionAnswer `json:"collections"`
	Writes      []writeAnswer      `json:"writes"`
	Verdicts    []string           `json:"verdicts"`
}

func compare(in io.Reader, out io.Writer) error {
	var asked questions
	if err := json.NewDecoder(in).Decode(&asked); err != nil {
		return err
	}
	var told answers
	for _, question := range asked.Archives {
		answer, err := question.answer()
		if err != nil {
			return fmt.Errorf("%s: %w", question.Folder, err)
		}
		told.Archives = append(told.Archives, answer)
	}
	for _, question := range asked.Names {
		told.Names = append(told.Names, question.answer())
	}
	for _, question := range asked.Collections {
		answer, err := question.answer()
		if err != nil {
			return fmt.Errorf("%s: %w", question.Current, err)
		}
		told.Collections = append(told.Collections, answer)
	}
	for _, question := range asked.Writes {
		answer, err := question.answer()
		if err != nil {
			return fmt.Errorf("%s: %w", question.Path, err)
		}
		told.Writes = append(told.Writes, answer)
	}
	for _, question := range asked.Verdicts {
		told.Verdicts = append(told.Verdicts, question.answer())
	}
	return json.NewEncoder(out).Encode(told)
}

// archiveQuestion: archive a folder to a file as a controller would.
type archiveQuestion struct {
	Folder string `json:"folder"`
	Target string `json:"target"`
	// Which filter: "watcher" is the one of source-watcher, "source" the one of source-controller, "none" is none.
	Filter string `json:"filter"`
	// For "source": what an object has in spec.ignore.
	Ignore *string `json:"ignore"`
}

type archiveAnswer struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func (q archiveQuestion) answer() (archiveAnswer, error) {
	var filter storage.ArchiveFileFilter
	switch q.Filter {
	case "watcher":
		filter = storage.SourceIgnoreFilter(nil, nil)
	case "source":
		domain := strings.Split(q.Folder, string(filepath.Separator))
		patterns, err := sourceignore.LoadIgnorePatterns(q.Folder, domain)
		if err != nil {
			return archiveAnswer{}, err
		}
		if q.Ignore != nil {
			patterns = append(patterns, sourceignore.ReadPatterns(strings.NewReader(*q.Ignore), domain)...)
		}
		filter = storage.SourceIgnoreFilter(patterns, domain)
	case "none":
	default:
		return archiveAnswer{}, fmt.Errorf("there is no filter %q", q.Filter)
	}
	volume, err := storage.New(options(filepath.Dir(q.Target), "localhost:9090"))
	if err != nil {
		return archiveAnswer{}, err
	}
	artifact := meta.Artifact{Path: filepath.Base(q.Target)}
	if err := volume.Archive(&artifact, q.Folder, filter); err != nil {
		return archiveAnswer{}, err
	}
	return archiveAnswer{Digest: artifact.Digest, Size: *artifact.Size}, nil
}

// nameQuestion: what an artifact is called.
type nameQuestion struct {
	Root      string `json:"root"`
	Address   string `json:"address"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	File      string `json:"file"`
	Revision  string `json:"revision"`
	// A URL whose host is to be replaced by the address.
	Other string `json:"other"`
}

type nameAnswer struct {
	Dir      string `json:"dir"`
	Path     string `json:"path"`
	URL      string `json:"url"`
	Revision string `json:"revision"`
	Local    string `json:"local"`
	Other    string `json:"other"`
}

func (q nameQuestion) answer() nameAnswer {
	volume := storage.Storage{BasePath: q.Root, Hostname: q.Address}
	object := &metav1.ObjectMeta{Namespace: q.Namespace, Name: q.Name}
	artifact := volume.NewArtifactFor(q.Kind, object, q.Revision, q.File)
	return nameAnswer{
		Dir:      storage.ArtifactDir(q.Kind, q.Namespace, q.Name),
		Path:     artifact.Path,
		URL:      artifact.URL,
		Revision: artifact.Revision,
		Local:    volume.LocalPath(artifact),
		Other:    volume.SetHostname(q.Other),
	}
}

// collectionQuestion: remove the garbage of one artifact.
type collectionQuestion struct {
	Root    string `json:"root"`
	Current string `json:"current"`
	// Nanoseconds.
	TTL     time.Duration `json:"ttl"`
	Records int           `json:"records"`
}

type collectionAnswer struct {
	// Paths below the root.
	Removed []string `json:"removed"`
}

func (q collectionQuestion) answer() (collectionAnswer, error) {
	volume, err := storage.New(&config.Options{
		StoragePath:              q.Root,
		StorageAddress:           "localhost:9090",
		ArtifactRetentionTTL:     q.TTL,
		ArtifactRetentionRecords: q.Records,
	})
	if err != nil {
		return collectionAnswer{}, err
	}
	removed, err := volume.GarbageCollect(context.Background(), meta.Artifact{Path: q.Current}, time.Minute)
	if err != nil {
		return collectionAnswer{}, err
	}
	answer := collectionAnswer{Removed: []string{}}
	for _, path := range removed {
		path, err := filepath.Rel(q.Root, path)
		if err != nil {
			return collectionAnswer{}, err
		}
		answer.Removed = append(answer.Removed, path)
	}
	return answer, nil
}

// writeQuestion: store bytes under a path.
type writeQuestion struct {
	Root      string `json:"root"`
	Path      string `json:"path"`
	Algorithm string `json:"algorithm"`
	Mode      uint32 `json:"mode"`
	Text      string `json:"text"`
}

type writeAnswer struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Mode   uint32 `json:"mode"`
}

func (q writeQuestion) answer() (writeAnswer, error) {
	canonical, err := digest.AlgorithmForName(q.Algorithm)
	if err != nil {
		return writeAnswer{}, err
	}
	digest.Canonical = canonical
	volume, err := storage.New(options(q.Root, "localhost:9090"))
	if err != nil {
		return writeAnswer{}, err
	}
	artifact := meta.Artifact{Path: q.Path}
	if err := volume.MkdirAll(artifact); err != nil {
		return writeAnswer{}, err
	}
	if err := volume.AtomicWriteFile(&artifact, strings.NewReader(q.Text), fs.FileMode(q.Mode)); err != nil {
		return writeAnswer{}, err
	}
	info, err := os.Stat(volume.LocalPath(artifact))
	if err != nil {
		return writeAnswer{}, err
	}
	return writeAnswer{Digest: artifact.Digest, Size: *artifact.Size, Mode: uint32(info.Mode().Perm())}, nil
}

// verdictQuestion: whether a file has a digest.
type verdictQuestion struct {
	Root   string `json:"root"`
	Path   string `json:"path"`
	Digest string `json:"digest"`
}

// answer is ok, missing, differs or refused, the last with the reason.
func (q verdictQuestion) answer() string {
	volume := storage.Storage{BasePath: q.Root}
	artifact := meta.Artifact{Path: q.Path, Digest: q.Digest}
	err := volume.VerifyArtifact(artifact)
	switch {
	case err == nil && !volume.ArtifactExist(artifact):
		return "no file"
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case strings.HasPrefix(err.Error(), "computed digest doesn't match"):
		return "differs"
	}
	return "refused: " + err.Error()
}
