package house

import (
	"bufio"
	"fmt"
	"go/ast"
	"os"
	"strconv"
	"strings"
)

const (
	fileLinesMax = 800
	funcLinesMax = 70
)

// Long is a function (or a whole file, Func "") that was let through, and how long it may be at most.
type Long struct {
	Path, Func string
	LinesMax   int
}

// Name identifies the entry in messages.
func (l Long) Name() string { return l.Path + " " + l.Func }

// Measure lists what is longer than the limits.
func Measure(f *File) []Long {
	var long []Long
	if n := strings.Count(string(f.Text), "\n"); n > fileLinesMax {
		long = append(long, Long{Path: f.Path, Func: "file", LinesMax: n})
	}
	for _, decl := range f.AST.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		n := f.Set.Position(fn.End()).Line - f.Set.Position(fn.Pos()).Line + 1
		if n > funcLinesMax {
			long = append(long, Long{Path: f.Path, Func: FuncName(fn), LinesMax: n})
		}
	}
	return long
}

// FuncName is "Func" or "Type.Method", without stars and type parameters.
func FuncName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	return receiverName(fn.Recv.List[0].Type) + "." + fn.Name.Name
}

func receiverName(expr ast.Expr) string {
	switch t := expr.(type) {
	case *ast.StarExpr:
		return receiverName(t.X)
	case *ast.IndexExpr:
		return receiverName(t.X)
	case *ast.IndexListExpr:
		return receiverName(t.X)
	case *ast.Ident:
		return t.Name
	}
	return "?"
}

// ReadLong reads the list of exemptions: "path function lines" a line, # starts a comment.
func ReadLong(name string) ([]Long, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var list []Long
	for lines := bufio.NewScanner(file); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("%s: want \"path function lines\", have %q", name, lines.Text())
		}
		n, err := strconv.Atoi(words[2])
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", name, lines.Text(), err)
		}
		list = append(list, Long{Path: words[0], Func: words[1], LinesMax: n})
	}
	return list, nil
}

// CheckLong compares what is too long with what was let through. An exemption may only shrink: one that is no longer
// needed, or that allows more than there is, must go down with the code.
func CheckLong(measured, exempt []Long) []Finding {
	var found []Finding
	have := make(map[string]int, len(measured))
	for _, m := range measured {
		have[m.Name()] = m.LinesMax
	}
	let := make(map[string]int, len(exempt))
	for _, e := range exempt {
		let[e.Name()] = e.LinesMax
		switch n := have[e.Name()]; {
		case n == 0:
			found = append(found, Finding{e.Path, fmt.Sprintf("%s needs its exemption no more: remove the line", e.Func)})
		case n < e.LinesMax:
			found = append(found, Finding{e.Path, fmt.Sprintf("%s has shrunk to %d lines: lower its exemption of %d", e.Func, n, e.LinesMax)})
		}
	}
	for _, m := range measured {
		if m.LinesMax > let[m.Name()] {
			found = append(found, Finding{m.Path, fmt.Sprintf("%s has %d lines (functions ≤ %d, files ≤ %d)", m.Func, m.LinesMax, funcLinesMax, fileLinesMax)})
		}
	}
	return found
}
