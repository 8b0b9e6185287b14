package match

import (
	"fmt"
	"reflect"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm/runtime"

	"logmule/forward/pack"
)

// Functions that stand for operators whose operands may be nil. No expression can call them by these names.
const (
	fnLess    = "<"
	fnMore    = ">"
	fnNotMore = "<="
	fnNotLess = ">="
	fnNot     = "!"
)

// Their types.
var (
	comparison = new(func(a, b any) bool)
	negation   = new(func(a any) bool)
)

func less(p ...any) (any, error)    { return there(p) && runtime.Less(p[0], p[1]), nil }
func more(p ...any) (any, error)    { return there(p) && runtime.More(p[0], p[1]), nil }
func notMore(p ...any) (any, error) { return there(p) && runtime.LessOrEqual(p[0], p[1]), nil }
func notLess(p ...any) (any, error) { return there(p) && runtime.MoreOrEqual(p[0], p[1]), nil }

func there(p []any) bool { return p[0] != nil && p[1] != nil }

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
