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

// faultTests are what the table of faults must name, all of them and nothing else.
const faultTests = "storage/campaign"

// Faults finds rows of the table of faults in a document that name no test, tests that the table lacks, and a table that is gone.
func Faults(name string, text []byte, files []*File) []Finding {
	_, table, there := strings.Cut(string(text), "## Faults\n")
	if table, _, _ = strings.Cut(table, "\n## "); !there {
		return []Finding{{name, "there is no table of faults"}}
	}
	var found []Finding
	named := make(map[string]bool)
	for _, line := range strings.Split(table, "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| fault |") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		test := reference.FindStringSubmatch(cells[len(cells)-1])
		if len(cells) != 3 || test == nil || !strings.HasPrefix(test[1], faultTests+"/") || !strings.HasPrefix(test[2], "TestFault") {
			found = append(found, Finding{name, fmt.Sprintf("the row %q must be a fault, a promise and a TestFault… of %s", cells[0], faultTests)})
			continue
		}
		named[test[1]+" "+test[2]] = true
	}
	for _, f := range files {
		for _, decl := range f.AST.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if ok && f.Dir() == faultTests && strings.HasPrefix(fn.Name.Name, "TestFault") && !named[f.Path+" "+fn.Name.Name] {
				found = append(found, f.at(fn.Pos(), "the table of faults in %s does not name %s", name, fn.Name.Name))
			}
		}
	}
	return found
}
