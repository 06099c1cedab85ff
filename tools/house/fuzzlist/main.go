// Command fuzzlist prints every fuzz target of the repository as "package name" lines, for `make fuzz`.
// It owns no state.
package main

import (
	"fmt"
	"go/ast"
	"os"
	"strings"

	"basalt/tools/house"
)

func main() {
	files, err := house.Load(".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzzlist:", err)
		os.Exit(1)
	}
	for _, f := range files {
		if !f.IsTest() {
			continue
		}
		for _, decl := range f.AST.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Fuzz") {
				fmt.Printf("./%s %s\n", f.Dir(), fn.Name.Name)
			}
		}
	}
}
