package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"strings"
)

// A pair of files: over is merged into base.
type pair struct{ base, over string }

// scalars are written as values, in a list and as keys.
var scalars = strings.Split(`0755|0o17|0O17|0x1F|0X1f|0b101|0B101|-0b11|0b-11|0b|0x|0_|00|08|09.5|0|-0|+0|-0.0|1_000|1__0|1_|_1|-_1|+1|-1|1_000.5|.0_1|._1|1:30|1:30:00|-1:30|190:20:30.15|1:60|
12e03|1e3|1E3|1e+3|1e-3|1e400|-1e400|1e-400|1.|1.e3|.5|-.5|+.5|.5e1|.|..|1.2.3|1e|e1|0e0|1e21|1e20|1e-6|1e-7|123456.5|1234567.5|0.0001|0.00001|100000|1000000|1.0|1.10|3.0e2|
9007199254740991|9007199254740992|9007199254740993|-9007199254740993|9223372036854775807|9223372036854775808|-9223372036854775808|-9223372036854775809|18446744073709551615|
18446744073709551616|123456789012345678901234567890|0xFFFFFFFFFFFFFFFF|0x10000000000000000|0.1|0.30000000000000004|1.7976931348623157e308|4.9e-324|
y|Y|yes|Yes|YES|yEs|n|N|no|No|NO|on|On|ON|off|Off|OFF|true|True|TRUE|tRUE|false|False|FALSE|null|Null|NULL|nULL|~|~~|nil|none|
2001-01-01|2001-1-1|2001-13-01|2001-02-29|2000-02-29|2001-12-14t21:59:43.10-05:00|2001-12-14T21:59:43Z|2001-12-14 21:59:43.10|2001-12-14 21:59:43.10 -5|2001-12-14T1:2:3Z|2001-12-14T24:00:00Z|20010101|
0001-01-01|02001-01-01|2001-01-01T|2001-01-01 1:2|abc|a b|a#b|a #b|a:b|@a|=|<<|<|a=b|$a|${a}|{{ .a }}|[a|http://x/y?z=1&u=2#f|C:\x|1.2.3.4|1.2.3.4/8|::1|a,b|a, b|*|*a|&a b|-a|- a|--|---a|...a|?a|? a|?|!|!a|!!str|!!int 1|!!int "12"|!!int x|
!!int 0x1F|!!int 1.5|!!float 1|!!float 1.5|!!float x|!!float 18446744073709551615|!!bool yes|!!bool x|!!null ~|!!null ""|!!null x|!!str 1|!!str yes|!!str 2001-01-01|!!timestamp 2001-01-01|!!timestamp x|!!binary aGVsbG8=|
!!binary aGVsbG8|!!binary /w==|!!binary "aGVs bG8="|!!binary aGVsbG9=|!!foo 1|!foo 1|! 12|!<tag:yaml.org,2002:int> 12|!<tag:yaml.org,2002:str> 12|!!set {a, b}|!!omap [a: 1]|'0755'|"0755"|'yes'|"null"|''|""|'it''s'|"a\tb"|"a\x41\u0042\U00000043"|
"\0\a\b\e\f\v\_\N\L\P"|"\q"|"\xg1"|"\ud800"|"a\
  b"|'a b '|é|日本語|"é"|a	b|`, "|")

// texts are written as JSON strings, as values and as keys.
var texts = []string{
	"", " ", "  ", "a ", " a", "a\n", "a\n\n", "\n", "\n\n", "\na", "a\nb", "a\nb\n", "a\n\nb", " a\nb", "a\n b", "a \nb", "a\nb ", "a\n ", "\ta", "a\tb", "a\n\tb",
	"a: b", "a:", ":a", ": a", "a #b", "#a", "a#b", "- a", "-a", "-", "--- a", "---", "...", "? a", "?", "[a]", "{a}", "a]", "a}", ", a", "a,b", "*a", "&a", "!a", "|", ">", "%a",
	"@a", "`a", "'a", "\"a", "a'b", "a\"b", "\\", "a\\nb", "null", "~", "true", "yes", "no", "on", "y", "Y", "0755", "0x1F", "1_000", "1:30", "1.5", ".5", "1e3", "-1", "+1", ".inf", ".nan",
	"2001-01-01", "2001-1-1", "=", "é", "日本語", "a\u00a0b", "\u00a0", "\u200b", "a\rb", "a\r\nb", "\x00", "\x07", "\x1b[0m", "a\u007fb", "a\u0080b", "a\u0085b",
	"a \u0085 b", "a\u0085\u0085b", "\u0085", "a\u0085--- b", "\ufffd", "\ue000", "key with spaces", strings.Repeat("k", 127), strings.Repeat("k", 128), strings.Repeat("k", 129),
	strings.Repeat("k", 1022), strings.Repeat("k", 1023), strings.Repeat("<", 170), strings.Repeat("<", 171), strings.Repeat("é", 100),
	strings.Repeat("word ", 15) + "word", strings.Repeat("word ", 16), strings.Repeat("ab ", 60), strings.Repeat("x", 79), strings.Repeat("x", 80) + " y", strings.Repeat("x", 200),
	"a " + strings.Repeat("x", 76) + " b", "a " + strings.Repeat("x", 77) + " b", "a  " + strings.Repeat("x", 80) + "  b", strings.Repeat("日本 ", 40), strings.Repeat("a: ", 40),
	strings.Repeat("tab\t", 30), "#!/bin/sh\nset -e\necho \"$x\"\n", "line one\n\n\nline two\n\n\n", "{{- range .Values.x }}\n- {{ . }}\n{{- end }}\n",
}

// files are merged into nothing; some of them are no YAML.
var files = []string{
	"", "\n", "   \n", "# only a comment\n", "---\n", "---\n---\n", "--- # comment\n", "---   \n", "null\n", "~\n", "{}\n", "[]\n", "[a, b]\n", "- a\n", "text\n", "\"text\"\n", "1\n", "1.5\n", "true\n", "2001-01-01\n", "|\n  text\n",
	"a: 1\n---\nb: 2\n", "a: 1\n---\na: 2\n", "a: {x: 1}\n---\na: {y: 2}\n", "a: 1\n--- # c\nb: 2\n", "a: 1\n---\n\n---\nb: 2", "a: 1\n---\n[]\n", "---\na: 1\n---\n", "a: 1\n---\nnull\n---\n# c\n",
	"--- {a: 1}\n", "--- a\n", "----\n", "a: |\n  text\n---- \n", "---a\n", "---\t#c\na: 1\n", "---\u00a0\na: 1\n", "a: 1\n...\nb: 2\n", "a: 1\n...\n] not looked at\n", "a: 1\n ---\n", "a: \"\n---\n\"\n",
	"a: 1\r\nb: 2\r\n", "a: |\r\n  x\r\n  y\r\n", "a: 1\rb: 2\n", "a: 1\r\n---\r\nb: 2\r\n", "\ufeffa: 1\n", "\ufeff---\na: 1\n", "a: 1\n---\n\ufeffb: 2\n", "\ufeff", "a: x\ufeffy\n", "a:\t1\n", "\ta: 1\n", "a:\n\tb: 1\n",
	"a: 1\t# c\n", "a: b\tc\n", "a: \"\tb\"\n", "- \ta\n", "a:\n  - b\n  -\tc\n", "{\"a\": 1, \"b\": [1, 2.0, \"x\", null, true]}\n", "{\"a\":1}\n", "{a: 1, b: [c, d], e: {}}\n", "{a, b: c}\n", "[a: 1]\n", "a: [b: c, d]\n",
	"a: [1, 2,]\n", "a: {b: 1,}\n", "a: [1\n, 2]\n", "a: {b: c d, e: f}\n", "a: [http://x, b]\n", "a: {http://x: y}\n", "a: [{b: c}, [d, [e]]]\n", "a:\n- b\n- c\n", "a:\n  - b\n", "a:\n- - b\n  - c\n- d: e\n  f: g\n", "a:\n-\n- b\n", "a:\n  b:\n  c:\n",
	"a: &x 1\nb: *x\n", "a: &x {b: 1}\nc: *x\n", "a: &x [1, 2]\nc: *x\n", "a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n", "a: &x {b: 1, d: 1}\nc:\n  <<: *x\n  d: 2\n", "a: &x {b: 1, d: 1}\nc:\n  d: 2\n  <<: *x\n",
	"a: &x {p: 1, q: 1}\nb: &y {q: 2, r: 2}\nc:\n  <<: [*x, *y]\n  s: 3\n", "c:\n  <<: {a: 1}\n  b: 2\n", "c:\n  <<: [{a: 1}, {a: 2, b: 2}]\n", "c:\n  <<: 1\n", "c:\n  <<: [1]\n", "c:\n  <<: null\n", "a: &x 1\nc:\n  <<: *x\n", "a: &x [1]\nc:\n  <<: *x\n",
	"c: [\"<<\"]\n", "c:\n  !!merge <<: {a: 1}\n", "<<: {a: 1}\nb: 2\n", "a: &x {b: &y {c: 1}}\nd: *y\n", "a: &x 1\na2: &x 2\nb: *x\n", "a: *x\n", "a: &x [*x]\n", "a: &x {b: *x}\n", "? &x a\n: 1\n*x : 2\n", "*x : 1\n", "a: & b\n", "a: &é b\n", "&a b: 1\n", "a: &x\nb: *x\n",
	"a: 1\na: 2\n", "a: {b: 1}\na: {c: 2}\n", "a: 1\n\"a\": 2\n", "yes: 1\n'yes': 2\n", "on:\n  push: 1\noff: 2\n", "1: a\n2: b\n", "1.5: a\n1e6: b\n1e5: c\n100000000000000000000: d\n", "0.1: a\n16777217.0: b\n3.4028236e38: c\n1e300: d\n", "-0.0: a\n", ".inf: a\n-.inf: b\n", ".nan: a\n", "0755: a\n0x1F: b\n", "2001-01-01: a\n",
	"null: a\n", "~: a\n", ": a\n", "a: {~: 1}\na: 2\n", "18446744073709551615: a\n", "18446744073709551616: a\n", "[a]: b\n", "{a: b}: c\n", "? [a]\n: b\n", "? a\n: b\n", "? a\n? b\n", "? |\n  a\n  b\n: c\n", "? - a\n: b\n", "a: .inf\n", "a: [-.inf]\n", "a: {b: .nan}\n", "a: .inf\na: 1\n",
	"a: |\n  x\n  y\n", "a: |-\n  x\n", "a: |+\n  x\n\n", "a: |2\n   x\n", "a: |\n   x\n  y\n", "a: |\n\n  x\n", "a: >\n  x\n  y\n\n  z\n", "a: >-\n  x\n    y\n  z\n", "a: >+\n  x\n\n", "a: >\n\n  x\n\n", "a: |\n", "a: >-\n", "a: | # c\n  x\n", "a: |x\n  y\n", "a: |0\n  y\n", "a: |\n  x\n b\n", "a: >2-\n    x\n",
	"a: x\n  y\n  z\n", "a: x\n\n  y\n", "a: \"x\n  y\"\n", "a: \"x\n\n  y\"\n", "a: 'x\n  y'\n", "a: \"x \\\n  y\"\n", "a: 'x\n\n\n  y'\n", "a:\n  x\n  y\nb: c\n", "a: x # c\nb: y#z\n", "a: # c\n  b: 1\n", "# c\na: 1 # d\n# e\n",
	"%YAML 1.1\n---\na: 1\n", "%YAML 1.1\n", "%TAG ! tag:x,2000:\n---\na: 1\n", "%foo\na: 1\n", "a: %b\n", "a: @b\n", "a: `b`\n", "a: b: c\n", "a: - b\n", "- a\nb: c\n", "a: 1\n- b\n", "a: [1, 2\n", "a: {b: 1\n", "a: \"x\n", "a: 'x\n", "a: ]\n", "a: }\n", "a: [1 2]\n", "a: \"b\" c\n", "a: 'b'c\n", "a\n", "a b\nc: d\n", "a: 1\n b: 2\n", "a:\n b: 1\n  c: 2\n",
	"a:\n  b: 1\n c: 2\n", "  a: 1\nb: 2\n", "a: [b, c]]\n", "a: {b: c}}\n", "a: [b\n  c]\n", "a: \"\\z\"\n", "a: \"\\x4\"\n", "a: \"\\u12\"\n", "\"a\nb\": c\n", strings.Repeat("k", 1022) + ": 1\n", strings.Repeat("k", 1025) + ": 1\n", "a: \x01\n", "a: \x7f\n", "a: \u0085b\n", "a: b\u2028c\n", "a: \u00a0b\n", "a: \ufffe\n",
	"a: \xff\n", "a: \xc3\n", "a: \xc3(\n", "a: \xe2\x82\n", "a: \xed\xa0\x80\n", "a: \xc0\x80\n", "a: \xf5\x80\x80\x80\n", "a: \xf4\x90\x80\x80\n", "\xff\xfea\x00:\x00 \x001\x00\n\x00", "\xfe\xff\x00a\x00:\x00 \x001\x00\n", "\xfe\xff\x00a\x00:\x00 \xd8\x00\x00\n", "\xfe\xff\xdc\x00\x00\n", "\xef\xbc\xa1: 1\n", "a: \"\x00\"\n",
	"a1: 1\na10: 1\na2: 1\na02: 1\na20b: 1\na20a: 1\n", "b: 1\na: 1\nB: 1\nA: 1\n_: 1\n-x: 1\n.x: 1\n1: 1\n10: 1\n9: 1\n", "é: 1\ne: 1\nz: 1\nа: 1\n", "a/b: 1\na-b: 1\na.b: 1\na_b: 1\nab: 1\na b: 1\n", "v1.10.0: 1\nv1.9.0: 1\nv1.9.0-rc1: 1\n", "x100: 1\nx12: 1\nx1: 1\nx: 1\nx0: 1\n",
	"image: \"nginx:1.25\"\nreplicas: 3\nresources: {limits: {cpu: 100m, memory: 128Mi}}\nports:\n- name: http\n  containerPort: 8080\n", "a: {}\nb: []\nc: \"\"\nd: ~\n",
}

// merges have two files.
var merges = []pair{
	{"a: 1\n", ""}, {"", "a: 1\n"}, {"a: 1\n", "a: 2\n"}, {"a: 1\n", "b: 2\n"}, {"a: {x: 1}\n", "a: {y: 2}\n"}, {"a: {x: 1, y: 1}\n", "a: {y: 2}\n"}, {"a: {x: {p: 1, q: 1}}\n", "a: {x: {q: 2, r: 2}}\n"},
	{"a: [1, 2, 3]\n", "a: [4]\n"}, {"a: [1]\n", "a: []\n"}, {"a: {x: 1}\n", "a: 1\n"}, {"a: 1\n", "a: {x: 1}\n"}, {"a: {x: 1}\n", "a: [1]\n"}, {"a: [1]\n", "a: {x: 1}\n"}, {"a: {x: 1}\n", "a: {}\n"}, {"a: {}\n", "a: {x: 1}\n"},
	{"a: {x: 1}\n", "a: null\n"}, {"a: 1\n", "a: ~\n"}, {"a: 1\n", "a:\n"}, {"a: {x: 1, y: 1}\n", "a: {x: null}\n"}, {"a: null\n", "a: {x: 1}\n"}, {"a: {x: 1}\n", "null\n"}, {"null\n", "a: 1\n"}, {"# nothing\n", "# nothing\n"},
	{"a: 0755\nb: yes\nc: 1_000\n", "d: 1\n"}, {"# kept?\na: 1 # no\n", "b: 2\n"}, {"a: &x {p: 1}\nb: *x\n", "a: {p: 2}\n"}, {"a: &x {p: 1}\nb: {<<: *x}\n", "b: {q: 2}\n"}, {"on: 1\n", "\"true\": 2\n"}, {"1: a\n", "\"1\": b\n"},
	{"z: 1\na: 1\n", "m: 1\n"}, {"a: 1\n---\nb: 2\n", "b: 3\n---\nc: 4\n"}, {"a: [\n", "a: 1\n"}, {"a: 1\n", "a: [\n"}, {"a: [\n", "b: {\n"}, {"- a\n", "a: 1\n"}, {"a: 1\n", "- a\n"}, {"--- x\n", "a: 1\n"}, {"a: 1\n", "--- x\n"},
	{"a: 1.0\n", "b: 2.50\n"}, {"a: 9007199254740993\n", "b: 12345678901234567890\n"}, {"a: \"1\"\n", "a: 1\n"}, {"a: 1\n", "a: \"1\"\n"}, {"a: \"0755\"\n", "b: '1e3'\n"}, {"s: |\n  x\n  y\n", "t: >\n  x\n  y\n"}, {"a: {b: {c: {d: {e: 1}}}}\n", "a: {b: {c: {d: {f: 2}}}}\n"},
	{"a: {b: 1}\na: {c: 2}\n", "a: {d: 3}\n"}, {"A: 1\n", "a: 2\n"}, {"a:\n  - x: 1\n    y: 2\n", "a:\n  - x: 3\n"},
}

// cases are the pairs that were thought of.
func cases() []pair {
	var pairs []pair
	over := func(text string) { pairs = append(pairs, pair{"", text}) }
	for _, scalar := range scalars {
		scalar = strings.TrimPrefix(scalar, "\n")
		over("k: " + scalar + "\nl:\n- " + scalar + "\n")
		over(scalar + ": v\n")
	}
	for _, text := range texts {
		var quoted strings.Builder
		encoder := json.NewEncoder(&quoted)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(text); err != nil {
			panic(err)
		}
		json := strings.TrimSpace(quoted.String())
		over("k: " + json + "\nl: [" + json + ", {m: " + json + "}]\n")
		over("? " + json + "\n: v\n")
	}
	for _, file := range files {
		over(file)
	}
	return append(pairs, merges...)
}

// document makes a file of random values.
func document(random *rand.Rand) string {
	value := map[string]any{}
	for range 1 + random.Intn(4) {
		value[randomKey(random)] = randomValue(random, 0)
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text) + "\n"
}

func randomKey(random *rand.Rand) string {
	if random.Intn(3) == 0 {
		key := randomText(random, 4)
		// This one Go writes so that it reads something else, or nothing at all; the chosen cases have it.
		for key == "<<" {
			key = randomText(random, 4)
		}
		return key
	}
	return text(random, strings.Split("a b c A B 0 1 2 9 _ - . / é", " "), 4)
}

func randomText(random *rand.Rand, most int) string {
	return text(random, []string{
		"a", "b", "word", "Z", "0", "1", " ", " ", "  ", "- ", "-", ": ", ":", " #", "#", ",", "[", "]", "{", "}", "&", "*", "!", "|", ">", "%", "@", "`", "\"", "'", "\\", "\n", "\n", "\n\n", "\t", "~", "null", "yes",
		"1.5", "0x1", "1:30", "2001-01-01", "=", "<", "?", "é", "日本", "_", ".", "...", "---", "/", "\u00a0", "\r", "\u200b", "word word word word word word word", "\x00", "\u0085",
	}, most)
}

func randomValue(random *rand.Rand, depth int) any {
	switch random.Intn(12) {
	case 0, 1:
		inner := map[string]any{}
		for range random.Intn(5) * (3 - depth) / 3 {
			inner[randomKey(random)] = randomValue(random, depth+1)
		}
		return inner
	case 2:
		list := []any{}
		for range random.Intn(4) * (3 - depth) / 3 {
			list = append(list, randomValue(random, depth+1))
		}
		return list
	case 3:
		return random.Intn(201) - 100
	case 4:
		return json.Number(fmt.Sprint(random.Uint64()))
	case 5:
		return (random.Float64() - 0.5) * math.Pow(10, float64(random.Intn(60)-30))
	case 6:
		return []any{nil, true, false}[random.Intn(3)]
	case 7:
		return strings.TrimSpace(strings.Repeat(randomText(random, 3)+" ", random.Intn(20)))
	default:
		return randomText(random, []int{3, 8, 20}[random.Intn(3)])
	}
}
