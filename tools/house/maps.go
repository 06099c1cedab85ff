package house

import (
	"fmt"
	"go/ast"
	"go/types"
	"path/filepath"

	"golang.org/x/tools/go/packages"
)

// MapRanges finds `range` over a map in simulated packages: Go orders it at random, and the same seed must give the
// same run. It needs types, so it loads the packages instead of parsing files.
func MapRanges(root string, patterns ...string) ([]Finding, error) {
	cfg := &packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedTypes |
			packages.NeedTypesInfo | packages.NeedImports | packages.NeedDeps,
		Dir: root,
	}
	loaded, err := packages.Load(cfg, patterns...)
	if err != nil {
		return nil, fmt.Errorf("load %v: %w", patterns, err)
	}
	var found []Finding
	for _, pkg := range loaded {
		for _, e := range pkg.Errors {
			return nil, fmt.Errorf("load %s: %v", pkg.PkgPath, e)
		}
		for _, tree := range pkg.Syntax {
			pos := pkg.Fset.Position(tree.Pos())
			rel, err := filepath.Rel(root, pos.Filename)
			if err != nil {
				return nil, err
			}
			f := &File{Path: filepath.ToSlash(rel), Set: pkg.Fset, AST: tree}
			if isSimulated(f) {
				found = append(found, mapRanges(f, pkg.TypesInfo)...)
			}
		}
	}
	return found, nil
}

func mapRanges(f *File, info *types.Info) []Finding {
	var found []Finding
	ast.Inspect(f.AST, func(n ast.Node) bool {
		loop, ok := n.(*ast.RangeStmt)
		if !ok {
			return true
		}
		if of := info.TypeOf(loop.X); of != nil {
			if _, isMap := of.Underlying().(*types.Map); isMap {
				found = append(found, f.at(loop.Pos(), "range over a map: its order is random, and the simulator's runs must repeat"))
			}
		}
		return true
	})
	return found
}
