package match

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm/runtime"

	"logmule/forward/pack"
)

// Functions that stand for operators whose operands may be nil. No expression can call them by these names.
const (
	fnPart    = "[]"
	fnLess    = "<"
	fnMore    = ">"
	fnNotMore = "<="
	fnNotLess = ">="
	fnNot     = "!"
)

// Their types.
var (
	parting    = new(func(whole, key any) any)
	comparison = new(func(a, b any) bool)
	negation   = new(func(a any) bool)
)

func less(p ...any) (any, error)    { return there(p) && runtime.Less(p[0], p[1]), nil }
func more(p ...any) (any, error)    { return there(p) && runtime.More(p[0], p[1]), nil }
func notMore(p ...any) (any, error) { return there(p) && runtime.LessOrEqual(p[0], p[1]), nil }
func notLess(p ...any) (any, error) { return there(p) && runtime.MoreOrEqual(p[0], p[1]), nil }

func there(p []any) bool { return p[0] != nil && p[1] != nil }

// part is whole[key]; of nothing there is no part.
func part(p ...any) (any, error) {
	if p[0] == nil {
		return nil, nil
	}
	return runtime.Fetch(p[0], p[1]), nil
}

func not(p ...any) (any, error) {
	switch v := p[0].(type) {
	case nil:
		return true, nil
	case bool:
		return !v, nil
	default:
		return nil, fmt.Errorf("not before a %T instead of true or false", p[0])
	}
}

// lenient puts functions in place of operators that would fail for a field which a record does not have. Those between
// operands of known types stay what they are, which is faster.
type lenient struct{}

// Visit is that of ast.Visitor.
func (lenient) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		switch n.Operator {
		case fnLess, fnMore, fnNotMore, fnNotLess:
			if isUnknown(n.Left) || isUnknown(n.Right) {
				call(node, n.Operator, n.Left, n.Right)
			}
		}
	case *ast.UnaryNode:
		if (n.Operator == "!" || n.Operator == "not") && isUnknown(n.Node) {
			call(node, fnNot, n.Node)
		}
	case *ast.MemberNode:
		if !n.Method && isUnknown(n.Node) {
			call(node, fnPart, n.Node, n.Property)
		}
	case *ast.SliceNode:
		orElse(&n.Node, &ast.ArrayNode{})
	case *ast.BuiltinNode:
		forNothing(n.Name, n.Arguments)
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			forNothing(callee.Value, n.Arguments)
		}
	}
}

// Functions for which a field that is not there is an empty list, and those for which it is an empty text.
var (
	ofLists = []string{
		"all", "any", "none", "one", "filter", "map", "find", "findIndex", "findLast", "findLastIndex", "count", "sum", "groupBy", "sortBy",
		"reduce", "len", "first", "last", "sort", "reverse", "uniq", "flatten", "join",
	}
	ofTexts = []string{
		"lower", "upper", "trim", "trimPrefix", "trimSuffix", "split", "splitAfter", "replace", "indexOf", "lastIndexOf", "hasPrefix", "hasSuffix",
	}
)

// forNothing puts what is empty in place of nil as the first argument of a function that takes no nil.
func forNothing(name string, args []ast.Node) {
	switch {
	case len(args) == 0:
	case slices.Contains(ofLists, name):
		orElse(&args[0], &ast.ArrayNode{})
	case slices.Contains(ofTexts, name):
		orElse(&args[0], &ast.StringNode{})
	}
}

// orElse puts another node in the place of one that may turn out to be nil, for that case.
func orElse(node *ast.Node, other ast.Node) {
	if isUnknown(*node) {
		ast.Patch(node, &ast.BinaryNode{Operator: "??", Left: *node, Right: other})
	}
}

// isUnknown says whether only an evaluation will tell the type of a node.
func isUnknown(n ast.Node) bool {
	t := n.Nature().Type
	return t == nil || t.Kind() == reflect.Interface
}

// call puts a call in place of a node.
func call(node *ast.Node, name string, args ...ast.Node) {
	ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: args})
}

// usedBy is what of a record an expression looks at.
func usedBy(node ast.Node) pack.Parts {
	var u uses
	ast.Walk(&node, &u)
	return pack.Parts(u)
}

type uses pack.Parts

// Visit is that of ast.Visitor.
func (u *uses) Visit(node *ast.Node) {
	n, ok := (*node).(*ast.IdentifierNode)
	if !ok {
		return
	}
	if n.Value == "$env" { // all of it, by names that only an evaluation tells
		*u = ^uses(0)
	}
	*u |= uses(names[n.Value].part)
}
