// Command conformance runs the conformance cases: conformance SETUP. The format is in ../README.md.
package main

//go:generate go tool buf generate

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Setup is what a runner is told.
type Setup struct {
	Cases     string          `json:"cases"`
	Transport string          `json:"transport"`
	Peers     map[string]Peer `json:"peers"`
	Control   string          `json:"control"`
	Variables map[string]any  `json:"variables"`
}

// Case is what a client must see, step by step.
type Case struct {
	Name      string `json:"name"`
	Transport string `json:"transport"`
	Steps     []Step `json:"steps"`
}

// Step is one thing that a client does.
type Step struct {
	Call       string    `json:"call"`
	As         string    `json:"as"`
	Send       any       `json:"send"`
	Hold       bool      `json:"hold"`
	DeadlineMS int       `json:"deadline_ms"`
	Open       string    `json:"open"`
	On         string    `json:"on"`
	Close      string    `json:"close"`
	Tell       string    `json:"tell"`
	Answer     any       `json:"answer"`
	Answers    *[]any    `json:"answers"`
	Unordered  bool      `json:"unordered"`
	Error      *Expected `json:"error"`
}

// Expected is how a call ends, when not well.
type Expected struct {
	Code    *string `json:"code"`
	Reason  *string `json:"reason"`
	Field   *string `json:"field"`
	Message string  `json:"message"`
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file string) error {
	var setup Setup
	if err := read(file, &setup); err != nil {
		return err
	}
	runner, err := newRunner(&setup)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(setup.Cases, "*.json"))
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, file := range files {
		var cases []Case
		if err := read(file, &cases); err != nil {
			return err
		}
		for _, one := range cases {
			if one.Transport != "" && one.Transport != setup.Transport {
				continue
			}
			why := ""
			if err := runner.run(one); err != nil {
				why = err.Error()
			}
			if err := out.Encode(map[string]any{"case": one.Name, "ok": why == "", "why": why}); err != nil {
				return err
			}
		}
	}
	return nil
}

func read(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
