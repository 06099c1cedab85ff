package house

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
)

// reference is how documents name a function: `path/file.go Func` or `path/file.go Type.Method`, in backquotes.
var reference = regexp.MustCompile("`([a-zA-Z0-9_/.-]+\\.go) ([A-Za-z0-9_]+(?:\\.[A-Za-z0-9_]+)?)`")

// fileReference is a file alone.
var fileReference = regexp.MustCompile("`([a-zA-Z0-9_/-]+\\.go)`")

// Named finds functions and files that a document names and that do not exist.
func Named(name string, text []byte, files []*File) []Finding {
	declared := make(map[string]map[string]bool, len(files))
	for _, f := range files {
		declared[f.Path] = declarations(f)
	}
	var found []Finding
	for i, line := range strings.Split(string(text), "\n") {
		where := fmt.Sprintf("%s:%d", name, i+1)
		for _, m := range reference.FindAllStringSubmatch(line, -1) {
			if !declared[m[1]][m[2]] {
				found = append(found, Finding{where, fmt.Sprintf("%s does not declare %s", m[1], m[2])})
			}
		}
		for _, m := range fileReference.FindAllStringSubmatch(line, -1) {
			if declared[m[1]] == nil {
				found = append(found, Finding{where, "there is no " + m[1]})
			}
		}
	}
	return found
}

// CountNamed is how many functions a document names; a document that should name some must not lose them silently.
func CountNamed(text []byte) int { return len(reference.FindAll(text, -1)) }

func declarations(f *File) map[string]bool {
	names := make(map[string]bool)
	for _, decl := range f.AST.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			names[FuncName(d)] = true
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok {
					names[t.Name.Name] = true
				}
			}
		}
	}
	return names
}
