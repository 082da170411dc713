package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
)

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// fill puts variables in; a text that is nothing else becomes the variable, whatever that is.
func fill(value any, variables map[string]any) (any, error) {
	switch value := value.(type) {
	case map[string]any:
		filled := make(map[string]any, len(value))
		for name, item := range value {
			item, err := fill(item, variables)
			if err != nil {
				return nil, err
			}
			filled[name] = item
		}
		return filled, nil
	case []any:
		filled := make([]any, len(value))
		for at, item := range value {
			item, err := fill(item, variables)
			if err != nil {
				return nil, err
			}
			filled[at] = item
		}
		return filled, nil
	case string:
		return fillText(value, variables)
	}
	return value, nil
}

func fillText(text string, variables map[string]any) (any, error) {
	if whole := variable.FindString(text); whole == text && whole != "" {
		if found, ok := variables[whole[2:len(whole)-1]]; ok {
			return found, nil
		}
		return nil, fmt.Errorf("there is no variable %s", whole)
	}
	var missing error
	filled := variable.ReplaceAllStringFunc(text, func(name string) string {
		found, ok := variables[name[2:len(name)-1]].(string)
		if !ok {
			missing = fmt.Errorf("there is no text %s", name)
		}
		return found
	})
	return filled, missing
}

// fits says where an answer does not fit its pattern.
func fits(pattern, found any, at string, variables map[string]any) error {
	switch pattern := pattern.(type) {
	case []any:
		items, _ := found.([]any)
		if len(items) != len(pattern) {
			return fmt.Errorf("%s: %d items expected, found %s", at, len(pattern), shown(found))
		}
		for index, item := range pattern {
			if err := fits(item, items[index], fmt.Sprintf("%s[%d]", at, index), variables); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		fields, _ := found.(map[string]any)
		for name, item := range pattern {
			if strings.HasPrefix(name, "$") {
				return follows(name, item, found, at, variables)
			}
			if err := fits(item, fields[name], at+"."+name, variables); err != nil {
				return err
			}
		}
		return nil
	}
	expected, err := fill(pattern, variables)
	if err != nil {
		return err
	}
	if reflect.DeepEqual(expected, found) || found == nil && isDefault(expected) {
		return nil
	}
	return fmt.Errorf("%s: %s expected, found %s", at, shown(expected), shown(found))
}

func follows(rule string, value, found any, at string, variables map[string]any) error {
	text, _ := found.(string)
	filled, err := fill(value, variables)
	if err != nil {
		return err
	}
	wanted, _ := filled.(string)
	holds := false
	switch rule {
	case "$any":
		holds = !isDefault(found)
	case "$save":
		variables[wanted] = text
		holds = text != ""
	case "$not":
		holds = text != wanted
	case "$prefix":
		holds = strings.HasPrefix(text, wanted)
	case "$suffix":
		holds = strings.HasSuffix(text, wanted)
	case "$contains":
		holds = strings.Contains(text, wanted)
	case "$has":
		holds = hasAll(value, found, variables)
	default:
		return fmt.Errorf("%s: there is no rule %s", at, rule)
	}
	if !holds {
		return fmt.Errorf("%s: %s %s does not hold for %s", at, rule, shown(value), shown(found))
	}
	return nil
}

func hasAll(patterns, found any, variables map[string]any) bool {
	wanted, _ := patterns.([]any)
	items, _ := found.([]any)
	for _, pattern := range wanted {
		if position(pattern, items, variables) < 0 {
			return false
		}
	}
	return true
}

// position is that of the first item that fits, or less than 0.
func position(pattern any, items []any, variables map[string]any) int {
	for at, item := range items {
		if fits(pattern, item, "answer", maps.Clone(variables)) == nil {
			return at
		}
	}
	return -1
}

func isDefault(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case bool:
		return !value
	case json.Number:
		return value == "0"
	case string:
		return value == "" || value == "0"
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return false
}

func shown(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text[:min(len(text), 300)])
}
