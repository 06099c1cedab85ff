package config

import (
	"fmt"
	"strings"
)

// Choice is a flag that takes one of a few words.
type Choice struct {
	Value string
	Of    []string
}

func (c *Choice) Set(text string) error {
	for _, word := range c.Of {
		if text == word {
			c.Value = text
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(c.Of, ", "))
}

func (c *Choice) Type() string   { return strings.Join(c.Of, "|") }
func (c *Choice) String() string { return c.Value }
