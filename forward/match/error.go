package match

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"

	"logmule/forward/config"
)

const example = `type == "nginx"`

// problem takes the place out of an error of an evaluation, and what it quotes of the expression.
func problem(err error) error {
	var at *file.Error
	if !errors.As(err, &at) {
		return err
	}
	what := at.Message
	if kind, ok := strings.CutPrefix(what, "reflect: call of reflect.Value.Len on "); ok {
		what = "what should be a list is of the type " + strings.TrimSuffix(kind, " Value")
	}
	return fmt.Errorf("%s, at %s", what, place(at))
}

func place(at *file.Error) string {
	if at.Line > 1 {
		return fmt.Sprintf("character %d of line %d", at.Column+1, at.Line)
	}
	return fmt.Sprintf("character %d", at.Column+1)
}

// explain makes an error of the configuration of what the compiler says.
func explain(err error) error {
	var at *file.Error
	if !errors.As(err, &at) {
		return fmt.Errorf("match cannot be used: %s; write an expression such as %s", firstLine(err), example)
	}
	known := slices.Sorted(maps.Keys(names))
	hint := "write an expression such as " + example
	what := at.Message
	switch name, ok := strings.CutPrefix(at.Message, "unknown name "); {
	case ok && name == "now":
		hint = "there is no clock: a record has to be decided the same way whenever it is read; compare timestamp with date(\"2026-01-31\")"
	case ok:
		what += config.Suggest(name, append(slices.Clone(known), builtin.Names...))
		hint = "the names are " + strings.Join(known, ", ")
	}
	return fmt.Errorf("match cannot be read at %s: %s; %s", place(at), what, hint)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// checkResult refuses an expression of which it is certain that its result is neither true nor false.
func checkResult(t reflect.Type) error {
	if t == nil || t.Kind() == reflect.Bool || t.Kind() == reflect.Interface {
		return nil
	}
	return fmt.Errorf("match gives a %v instead of true or false; compare it with something, as in %s", t, example)
}
