package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"math/rand"
	"regexp"
	"strings"
	"testing/fstest"

	"k8s.io/apimachinery/pkg/api/validate/content"
)

// capture prints which directories of a small tree a path with `{name}` captures matches as a regular expression, and what they take.
// The first line lists the files of the tree; the others are a pattern and, for each match in the order of a walk, `path:name=value,…`.
func capture(out *bufio.Writer, random *rand.Rand, count int) {
	files := strings.Fields("apps/auth/envs/dev/x apps/auth/envs/prod/x apps/Auth/envs/dev/x apps/auth-v1/x apps/auth.v1/x apps/billing/x apps/f a/b/c/d/x a-b/c-d/e-f/x a-b-c/x ab/ab/x aab/aaab/x a.b/x axb/x é/éé/éaé/x *a/x [a]/x (b)/x a|b/x {c}/x a{b/x x}y/x .h/.i/x -/--/x 日本/語/x a%20b/x $/^/x +/x")
	tree := fstest.MapFS{}
	for _, file := range files {
		tree[unescape(file)] = &fstest.MapFile{}
	}
	for i, file := range files {
		files[i] = quote(unescape(file))
	}
	fmt.Fprintln(out, strings.Join(files, " "))
	pieces := strings.Split("{} {} {} {} a b c - . / / / é apps * x ab", " ")
	segments := strings.Split("{} {} {} {} apps a-b a ab auth é envs a.b {}-{} {}{} {}.{} a{} {}b a{}b {}-{}-{} {}{}{} {}a{} {}/ *a [a] a|b", " ")
	for range count {
		pattern := segments[random.Intn(len(segments))]
		for range random.Intn(4) {
			pattern += "/" + segments[random.Intn(len(segments))]
		}
		if random.Intn(4) == 0 {
			pattern = text(random, pieces, 6)
		}
		var named, expression strings.Builder
		var names []string
		for i, literal := range strings.Split(pattern, "{}") {
			if i > 0 {
				name := fmt.Sprintf("n%d", i)
				names = append(names, name)
				named.WriteString("{" + name + "}")
				expression.WriteString("([^/]+)")
			}
			named.WriteString(literal)
			expression.WriteString(regexp.QuoteMeta(literal))
		}
		fmt.Fprint(out, quote(named.String()))
		matcher := regexp.MustCompile(`^` + expression.String() + `$`)
		_ = fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, _ error) error {
			taken := matcher.FindStringSubmatch(path)
			if taken == nil || path == "." || !entry.IsDir() {
				return nil
			}
			var shown []string
			for i, name := range names {
				shown = append(shown, name+"="+quote(taken[i+1]))
			}
			fmt.Fprintf(out, " %s:%s", quote(path), strings.Join(shown, ","))
			return nil
		})
		fmt.Fprintln(out)
	}
}

func unescape(name string) string { return strings.ReplaceAll(name, "%20", " ") }

// values are looked at as what a capture takes, names as keys of labels and as names of objects.
var (
	values = strings.Split("|a|A|auth|Auth|AUTH|a-b|a_b|a.b|-a|a-|_a|a_|.a|a.|a b|a/b|é|É|ß|ẞ|İ|I|ı|\u212a|\u212b|\u2126|Σ|ΑΣ|ς|Dž|ǅ|ｆ|日本|\u0301|a\u0301|Ꭰᏸ|ꭰ|𐐀|Ⅷ|Ⓐ|\u200b|\x00|\x7f|\u00a0|\ufffd|\U0001F980|v1.2.3|1|0-0|a--b|a..b|İstanbul|\u212aelvin|\"a\"|a\\b|{a}|a'b", "|")
	names  = strings.Split("app|App|_app|app_|__|_|a|A1|app_name|APP_NAME_|a-b|a.b|a..b|.a|a.|-a|a-|a--b|1|1.2|A|a_b|é|a b", "|")
)

// lengths are added to values and names: the longest that are taken, and one more.
var lengths = []int{62, 63, 64, 65, 252, 253, 254}

// labels prints one question and its answer on each line: `lower`, what a text is in lower case; `quote`, how an error shows it; `value`,
// `key` and `name`, whether Kubernetes takes it as the value or key of a label, or as the name of an object (`+`, or `!` with the errors).
func labels(out *bufio.Writer, random *rand.Rand, count int) {
	texts, keys := values, names
	for _, length := range lengths {
		texts = append(texts, strings.Repeat("a", length), strings.Repeat("é", length/2), strings.Repeat("a", length)+"-")
		keys = append(keys, strings.Repeat("a", length), strings.Repeat("a", length)+"_", strings.Repeat("a.", length/2))
	}
	pieces := strings.Split("a B c - _ . / é É İ K Σ ß 日 \" \\ { } 0 9", " ")
	for len(texts) < count {
		texts = append(texts, text(random, pieces, 8))
	}
	for _, value := range texts {
		lower := strings.ToLower(value)
		fmt.Fprintln(out, "lower", quote(value), quote(lower))
		fmt.Fprintln(out, "quote", quote(value), quote(fmt.Sprintf("%q", value)))
		verdict(out, "value", lower, content.IsLabelValue(lower))
		verdict(out, "name", lower, content.IsDNS1123Subdomain(lower))
	}
	for _, key := range keys {
		verdict(out, "key", key, content.IsLabelKey(key))
		verdict(out, "name", key, content.IsDNS1123Subdomain(key))
	}
}

func verdict(out *bufio.Writer, question, text string, errors []string) {
	if len(errors) == 0 {
		fmt.Fprintln(out, question, quote(text), "+")
		return
	}
	fmt.Fprintln(out, question, quote(text), "!"+quote(strings.Join(errors, "; ")))
}
