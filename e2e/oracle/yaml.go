package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// load reads the documents of a file and merges them from the first to the last.
func load(file string) (map[string]any, error) {
	merged := map[string]any{}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(file)))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return merged, nil
		}
		if err != nil {
			return nil, fmt.Errorf("error reading YAML document: %w", err)
		}
		document := map[string]any{}
		if err := yaml.Unmarshal(text, &document); err != nil {
			return nil, fmt.Errorf("cannot unmarshal YAML document: %w", err)
		}
		overlay(merged, document)
	}
}

// overlay puts the values of over into base. Where both have a map the two become one; everything else is replaced.
func overlay(base, over map[string]any) {
	for key, value := range over {
		inner, isMap := value.(map[string]any)
		before, wasMap := base[key].(map[string]any)
		if isMap && wasMap {
			overlay(before, inner)
		} else {
			base[key] = value
		}
	}
}

// merge answers with the YAML that two merged files are written as.
func merge(base, over string) (string, error) {
	// The file that is copied is read first.
	copied, err := load(over)
	if err != nil {
		return "", err
	}
	merged, err := load(base)
	if err != nil {
		return "", err
	}
	overlay(merged, copied)
	text, err := yaml.Marshal(merged)
	if err != nil {
		return "", fmt.Errorf("failed to merged YAML: %w", err)
	}
	return string(text), nil
}

// answer is how a vector shows the result of a merge.
func answer(base, over string) string {
	text, err := merge(base, over)
	if err != nil {
		return "!" + quote(err.Error())
	}
	values, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		panic(fmt.Sprintf("Go can not read what it wrote: %v\n%s", err, text))
	}
	return "+" + quote(text) + " " + quote(string(values))
}

// mergeVectors prints all cases, then random pairs of files up to count.
func mergeVectors(out *bufio.Writer, random *rand.Rand, count int) {
	pairs := cases()
	chosen := len(pairs)
	for len(pairs) < count {
		base := ""
		if random.Intn(2) == 0 {
			base = document(random)
		}
		pairs = append(pairs, pair{base, document(random)})
	}
	for at, p := range pairs {
		first, stable := answer(p.base, p.over), true
		// Where the order of keys is no order, and where two keys become one, Go's answer changes from run to run. The order that comes
		// less often can be rare, and those cases are among the chosen ones.
		tries := 8
		if at < chosen {
			tries = 40
		}
		for range tries {
			stable = stable && answer(p.base, p.over) == first
		}
		if stable {
			fmt.Fprintln(out, quote(p.base), quote(p.over), first)
		}
	}
}

// readYAML prints the values of each line of standard input, a quoted file, as JSON.
func readYAML(out *bufio.Writer) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		values, err := yaml.YAMLToJSON(unquote(lines.Text()))
		if err != nil {
			values = []byte("!" + err.Error())
		}
		fmt.Fprintln(out, quote(string(values)))
	}
	if lines.Err() != nil {
		panic(lines.Err())
	}
}

func unquote(text string) []byte {
	var b bytes.Buffer
	for i := 0; i < len(text) && text != "%"; i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		var value byte
		if _, err := fmt.Sscanf(text[i+1:i+3], "%02x", &value); err != nil {
			panic(err)
		}
		b.WriteByte(value)
		i += 2
	}
	return b.Bytes()
}
