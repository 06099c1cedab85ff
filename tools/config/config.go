// Package config joins the two ways to set a program up: flags and a TOML file whose keys are the names of the flags.
//
// It owns no state: the flag set is the only list of what can be set, so file and command line cannot drift apart.
// Invariants: a key that is no flag is refused by name; the command line wins over the file; nothing is corrected
// silently. Errors carry outcome.Usage.
package config

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"

	"basalt/tools/outcome"
)

// notKeys are flags that make no sense inside the file: they name it, or ask for something else than to run.
var notKeys = map[string]bool{"config": true, "help": true, "show-config": true, "version": true}

// File reads the TOML file at path and sets every flag of set that the command line did not set.
func File(set *pflag.FlagSet, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return outcome.New(outcome.Usage, "cannot read the configuration: %w", err)
	}
	return apply(set, path, string(text))
}

func apply(set *pflag.FlagSet, path, text string) error {
	values := make(map[string]any)
	if _, err := toml.Decode(text, &values); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return outcome.New(outcome.Usage, "%s, line %d: %s", path, syntax.Position.Line, syntax.Message)
		}
		return outcome.New(outcome.Usage, "%s: %w", path, err)
	}
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		if err := applyKey(set, path, key, values[key]); err != nil {
			return err
		}
	}
	return nil
}

func applyKey(set *pflag.FlagSet, path, key string, value any) error {
	flag := set.Lookup(key)
	if flag == nil || notKeys[key] {
		return outcome.New(outcome.Usage, "%s: unknown key %q; the keys are the flags of --help: %s", path, key, strings.Join(names(set), ", "))
	}
	if flag.Changed {
		return nil
	}
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		all, err := texts(value)
		if err != nil {
			return outcome.New(outcome.Usage, "%s: %s: %w", path, key, err)
		}
		return list.Replace(all)
	}
	text, err := scalar(value)
	if err != nil {
		return outcome.New(outcome.Usage, "%s: %s: %w", path, key, err)
	}
	if err := flag.Value.Set(text); err != nil {
		return outcome.New(outcome.Usage, "%s: %s = %s: %w", path, key, text, err)
	}
	return nil
}

func scalar(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	}
	return "", fmt.Errorf("want a text, a whole number or true/false, have %T", value)
}

// texts is a list, or a single thing that stands for a list of it.
func texts(value any) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	all := make([]string, 0, len(list))
	for _, one := range list {
		text, ok := one.(string)
		if !ok {
			return nil, fmt.Errorf("want a text or a list of texts, have %T", one)
		}
		all = append(all, text)
	}
	return all, nil
}

func names(set *pflag.FlagSet) []string {
	var list []string
	set.VisitAll(func(f *pflag.Flag) {
		if !notKeys[f.Name] {
			list = append(list, f.Name)
		}
	})
	sort.Strings(list)
	return list
}

// Show is the set-up in force as the text of a configuration file.
func Show(set *pflag.FlagSet) string {
	var b strings.Builder
	set.VisitAll(func(f *pflag.Flag) {
		if notKeys[f.Name] {
			return
		}
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = showList(list.GetSlice())
		} else if f.Value.Type() != "int" && f.Value.Type() != "bool" {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&b, "%s = %s # %s\n", f.Name, value, f.Usage)
	})
	return b.String()
}

func showList(list []string) string {
	quoted := make([]string, 0, len(list))
	for _, one := range list {
		quoted = append(quoted, strconv.Quote(one))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
