// Command oracle asks Go what glob and path patterns match, how tar headers look, what merged YAML files are and which texts Kubernetes
// takes for labels, and prints the answers as vectors
// for Weir's tests. The test e2e/tests/e2e/oracle.rs says which vectors there are, compares them, and renews them.
//
//	oracle segment|doublestar|walk|find|header|merge|capture|label <count> <seed>
//
// `oracle read` prints what Go reads in YAML files, one quoted file on each line of its input, as JSON.
//
// A line of the header vectors is the kind (d, f, or x for executable), the size, the name and the SHA-256 of the header blocks.
//
// The walk vectors (io/fs) and the find vectors (doublestar) start with the files of a tree; their lines are a pattern and the paths that it
// finds there, in order.
//
// A line of the merge vectors is a file, another that is merged into it, and the result: `+` with the YAML that Go writes, and the JSON
// that it reads in it; or `!` with the error.
//
// A line is a pattern, then names with the answer in front (`+` matches, `-` does not), separated by blanks; `!` alone says that the
// pattern is malformed. Bytes other than printable ASCII, blanks and `%` are written as `%xx`; an empty text is `%`.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing/fstest"

	"github.com/bmatcuk/doublestar/v4"
)

// A language answers for one kind of pattern and knows the pieces that random patterns and names are made of.
type language struct {
	valid         func(pattern string) bool
	match         func(pattern, name string) bool
	pattern, name []string
}

var languages = map[string]language{
	"segment": {
		valid:   func(pattern string) bool { _, err := path.Match(pattern, ""); return err == nil },
		match:   func(pattern, name string) bool { ok, _ := path.Match(pattern, name); return ok },
		pattern: strings.Split("a b c é * * ** ? [ ] [a [^a [a-c] [^b] - ^ ! \\ \\* \\[ { } , . é]", " "),
		name:    strings.Split("a b c é - ] [ * \\ . ^ \xff \xc3 x", " "),
	},
	"doublestar": {
		valid:   func(pattern string) bool { _, err := doublestar.Match(pattern, "."); return err == nil },
		match:   func(pattern, name string) bool { return doublestar.MatchUnvalidated(pattern, name) },
		pattern: strings.Split("a b c . / / / * * ** **/ /** /**/ ? { { } } , , {a,b} {**/a,b} {,/b} [ ] [a [!a [^b] [a-c] [b-] - ! ^ \\ \\{ \\* é", " "),
		name:    strings.Split("a a b c . / / / é { * - \xff x", " "),
	},
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	if len(os.Args) == 2 && os.Args[1] == "read" {
		readYAML(out)
		return
	}
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: oracle segment|doublestar|walk|find|header|merge|capture|label <count> <seed>, or oracle read")
		os.Exit(2)
	}
	count, _ := strconv.Atoi(os.Args[2])
	seed, _ := strconv.ParseInt(os.Args[3], 10, 64)
	language, random := languages[os.Args[1]], rand.New(rand.NewSource(seed))
	fmt.Fprintf(out, "# oracle %s, seed %d\n", os.Args[1], seed)
	switch os.Args[1] {
	case "walk":
		walk(out, random, count)
		return
	case "find":
		find(out, random, count)
		return
	case "header":
		header(out, random, count)
		return
	case "capture":
		capture(out, random, count)
		return
	case "label":
		labels(out, random, count)
		return
	case "merge":
		mergeVectors(out, random, count)
		return
	}
	for printed := 0; printed < count; {
		pattern := text(random, language.pattern, 7)
		valid := language.valid(pattern)
		// Malformed patterns are common; a few will do.
		if !valid && random.Intn(6) > 0 {
			continue
		}
		printed++
		fmt.Fprint(out, quote(pattern))
		if !valid {
			fmt.Fprintln(out, " !")
			continue
		}
		for range 8 {
			name := related(random, language, pattern)
			sign := "-"
			if language.match(pattern, name) {
				sign = "+"
			}
			fmt.Fprint(out, " ", sign, quote(name))
		}
		fmt.Fprintln(out)
	}
}

// walk prints what io/fs globs find in a small tree.
func walk(out *bufio.Writer, random *rand.Rand, count int) {
	files := strings.Fields("a/b/c.x a/b/d a/b/.h a/b-c a/é/c.x a/[b]/c b/b/b b/c.x b.x c.x .h/c.x .h/b/c *a/b {b}/c ]")
	tree := fstest.MapFS{}
	for _, file := range files {
		tree[file] = &fstest.MapFile{}
	}
	fmt.Fprintln(out, strings.Join(files, " "))
	pieces := strings.Split("a b c .x .h / / / / * * * ** ? . .. ./ [ab] [^a] [ ] \\ { } é - [b]", " ")
	segments := strings.Split("a a a b b c c.x .h * * * ** *.x .* ? [ab] [^a] [a-c]* \\b \\[b] [b] {b} ] é b* *b . .. a/ [ a]", " ")
	for range count {
		pattern := segments[random.Intn(len(segments))]
		for range random.Intn(4) {
			pattern += "/" + segments[random.Intn(len(segments))]
		}
		if random.Intn(4) == 0 {
			pattern = text(random, pieces, 7)
		}
		found, err := fs.Glob(tree, pattern)
		fmt.Fprint(out, quote(pattern))
		if err != nil {
			fmt.Fprint(out, " !")
		}
		for _, match := range found {
			fmt.Fprint(out, " ", quote(match))
		}
		fmt.Fprintln(out)
	}
}

// find prints what doublestar finds in a small tree.
func find(out *bufio.Writer, random *rand.Rand, count int) {
	files := strings.Fields("a/b/c.tgz a/b/d a/b/.h a/b-c a/é/c.tgz a/[b]/c b/b/b b/c.tgz b.tgz c.tgz .h/c.tgz .h/b/c *a/b {b}/c ] a.tgz/x c/b/a/b/c.tgz")
	tree := fstest.MapFS{}
	for _, file := range files {
		tree[file] = &fstest.MapFile{}
	}
	fmt.Fprintln(out, strings.Join(files, " "))
	pieces := strings.Split("a b c .tgz .h / / / / * * * ** ** ? . .. ./ [ab] [^a] [!b] [ ] \\ { } {a,b} {b,c.tgz} {a/b,b} é - [b]", " ")
	segments := strings.Split("a a a b b c c.tgz .h * * * ** ** ** *.tgz .* ? [ab] [!a] [a-c]* {a,b} {*.tgz,b} {b/c,c}* {,a} {a,} {a,a} \\b \\[b] \\{b\\} [b] ] é b** **b . .. a/ [ { a]", " ")
	for printed := 0; printed < count; {
		pattern := segments[random.Intn(len(segments))]
		for range random.Intn(4) {
			pattern += "/" + segments[random.Intn(len(segments))]
		}
		if random.Intn(4) == 0 {
			pattern = text(random, pieces, 7)
		}
		found, err := doublestar.Glob(tree, pattern)
		var walked []string
		_ = doublestar.GlobWalk(tree, pattern, func(path string, _ fs.DirEntry) error {
			walked = append(walked, path)
			return nil
		})
		// Glob takes what an alternative has found for directories of the next one, where GlobWalk does not.
		if err == nil && !sameSet(found, walked) {
			continue
		}
		printed++
		fmt.Fprint(out, quote(pattern))
		if err != nil {
			fmt.Fprint(out, " !")
		}
		for _, match := range found {
			fmt.Fprint(out, " ", quote(match))
		}
		fmt.Fprintln(out)
	}
}

func sameSet(one, other []string) bool {
	one, other = slices.Clone(one), slices.Clone(other)
	slices.Sort(one)
	slices.Sort(other)
	return slices.Equal(slices.Compact(one), slices.Compact(other))
}

// header prints digests of tar headers, mostly for names around the limits of the format.
func header(out *bufio.Writer, random *rand.Rand, count int) {
	modes := map[byte]int64{'d': 0o750, 'f': 0o600, 'x': 0o700}
	for range count {
		kind := "dffx"[random.Intn(4)]
		size := []int64{0, 1, 511, 512, 1 << 20, 1<<33 - 1, 1 << 33, 1 << 40}[random.Intn(8)]
		h := tar.Header{Typeflag: tar.TypeReg, Size: size, Mode: modes[kind], Name: longName(random)}
		if kind == 'd' {
			h.Typeflag, h.Size = tar.TypeDir, 0
		}
		var blocks bytes.Buffer
		if err := tar.NewWriter(&blocks).WriteHeader(&h); err != nil {
			panic(err)
		}
		fmt.Fprintf(out, "%c %d %s %x\n", kind, h.Size, quote(h.Name), sha256.Sum256(blocks.Bytes()))
	}
}

// longName joins components so that the name or one of its slashes often lies at a limit of 100, 155 or 255 bytes.
func longName(random *rand.Rand) string {
	target := []int{1, 20, 98, 99, 100, 101, 155, 156, 157, 200, 254, 255, 256, 257, 300, 400}[random.Intn(16)]
	lengths := []int{1, 3, 40, 54, 55, 98, 99, 100, 101, 154, 155, 156}
	name := ""
	for len(name) < target {
		if name != "" && target-len(name) > 1 {
			name += "/"
		}
		length := min(lengths[random.Intn(len(lengths))], target-len(name))
		name += strings.Repeat(string(rune('a'+random.Intn(26))), length)
	}
	odd := []string{"é", "/é/", "\xff", "/日本語", "é/é"}
	if random.Intn(3) == 0 {
		at := random.Intn(len(name) + 1)
		name = name[:at] + odd[random.Intn(len(odd))] + name[at:]
	}
	return strings.Trim(strings.ReplaceAll(name, "//", "/"), "/")
}

func text(random *rand.Rand, pieces []string, most int) string {
	var b strings.Builder
	for range random.Intn(most + 1) {
		b.WriteString(pieces[random.Intn(len(pieces))])
	}
	return b.String()
}

// related makes a name, often one that looks like the pattern, so that many match.
func related(random *rand.Rand, language language, pattern string) string {
	if random.Intn(3) == 0 {
		return text(random, language.name, 6)
	}
	var b strings.Builder
	for _, r := range pattern {
		switch {
		case strings.ContainsRune("*?[]{}!^,\\", r) && random.Intn(5) > 0:
			b.WriteString(text(random, language.name, 2))
		case random.Intn(12) > 0:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func quote(s string) string {
	if s == "" {
		return "%"
	}
	var b strings.Builder
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '%' {
			fmt.Fprintf(&b, "%%%02x", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
