// Package house checks the rules that this repository is built by: who may import whom, how long a file and a function
// may be, which calls a simulated package must not make, where unsafe and `go` may stand, and whether the documents
// still name functions that exist.
//
// It owns no state. Every rule is a pure function from a parsed file to findings, so that each rule has a test showing
// that it can fail. The tables at the top of layers.go, calls.go and testdata/long.txt are the rules; the rest is
// mechanism. Read layers.go first.
package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// File is one Go source file of the repository.
type File struct {
	Path string // relative to the root, slashes
	Text []byte
	Set  *token.FileSet
	AST  *ast.File
}

// Finding is one broken rule at one place.
type Finding struct {
	Where string // path:line
	Rule  string
}

func (f Finding) String() string { return f.Where + ": " + f.Rule }

// Parse makes a File of source text; the self tests of the rules use it too.
func Parse(name string, text []byte) (*File, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	return &File{Path: name, Text: text, Set: set, AST: tree}, nil
}

// Dir is the package directory, "." for the root.
func (f *File) Dir() string { return path.Dir(f.Path) }

// IsTest says whether the file is only built for tests.
func (f *File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

func (f *File) at(pos token.Pos, format string, args ...any) Finding {
	return Finding{Where: fmt.Sprintf("%s:%d", f.Path, f.Set.Position(pos).Line), Rule: fmt.Sprintf(format, args...)}
}

// Load parses every Go file under root, whatever build tags it carries: a rule holds for all of them.
func Load(root string) ([]*File, error) {
	var files []*File
	err := walk(root, func(name string) error {
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		file, err := Parse(name, text)
		if err != nil {
			return err
		}
		files = append(files, file)
		return nil
	})
	return files, err
}

// walk visits the repository's own files: no build output, no mounted file system, no version control.
func walk(root string, visit func(name string) error) error {
	return filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == ".git" || rel == "run" || rel == "bin" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return visit(filepath.ToSlash(rel))
	})
}

// Unformatted reports whether gofmt would change the file.
func Unformatted(f *File) bool {
	out, err := format.Source(f.Text)
	return err != nil || !bytes.Equal(out, f.Text)
}
