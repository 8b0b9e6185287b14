package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// expand replaces ${NAME} and ${NAME:-default} by the variables of the environment, outside comments. As in a shell the
// default also stands in for a variable that is empty. A value cannot become anything but the text of the string it
// stands in, and outside a string anything but a number, true or false; where it would, and where it is missing, that is
// an error, and the text keeps its shape so that the rest can still be checked. No line moves.
func expand(file, text string, lookup func(string) (string, bool)) (string, []*Error) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	var out strings.Builder
	var errs []*Error
	for _, t := range tokens(text, true) {
		if t.kind == comment {
			out.WriteString(t.text)
			continue
		}
		expanded, problems := expandToken(t, lookup)
		for _, e := range problems {
			e.File = file
			errs = append(errs, e)
		}
		out.WriteString(expanded)
	}
	return out.String(), errs
}

// plainValue is what may come from the environment outside a string.
var plainValue = regexp.MustCompile(`^(true|false|[+-]?[0-9][0-9_]*(\.[0-9]+)?)$`)

func expandToken(t token, lookup func(string) (string, bool)) (string, []*Error) {
	var out strings.Builder
	var errs []*Error
	var name string
	last := 0
	for _, m := range variable.FindAllStringSubmatchIndex(t.text, -1) {
		if escaped(t, m[0]) {
			continue
		}
		name = t.text[m[2]:m[3]]
		value, problem := resolve(t, m, name, lookup)
		if problem != nil {
			problem.Line = t.line + strings.Count(t.text[:m[0]], "\n")
			errs = append(errs, problem)
			value = t.text[m[0]:m[1]]
			if t.kind == bare {
				value = "0"
			}
		}
		out.WriteString(t.text[last:m[0]] + value)
		last = m[1]
	}
	out.WriteString(t.text[last:])
	expanded := out.String()
	if last > 0 && !sameToken(t, expanded) {
		return t.text, append(errs, &Error{
			Line: t.line,
			What: fmt.Sprintf("the value of the environment variable %s does not fit into this string", name),
			Hint: fmt.Sprintf(`use a "..." string for it: "${%s}"`, name),
		})
	}
	return expanded, errs
}

// escaped tells whether a backslash takes the dollar sign at an offset of a string: the parser reports that, and a value
// there would get an escape of its own undone.
func escaped(t token, at int) bool {
	if t.kind != basic && t.kind != basicBlock {
		return false
	}
	before := t.text[:at]
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// resolve returns what to write for the reference m of a token.
func resolve(t token, m []int, name string, lookup func(string) (string, bool)) (string, *Error) {
	value, set := lookup(name)
	hasDefault := m[4] >= 0
	if hasDefault && value == "" {
		// The default is text of the file, written as the string around it is.
		value = t.text[m[6]:m[7]]
		if t.kind == basic || t.kind == basicBlock {
			return value, nil
		}
	} else if !set {
		return "", &Error{
			What: fmt.Sprintf("the environment variable %s is not set", name),
			Hint: fmt.Sprintf("set it, or write ${%s:-default}", name),
		}
	}
	switch {
	case !utf8.ValidString(value):
		return "", &Error{
			What: fmt.Sprintf("the value of the environment variable %s is not UTF-8", name),
			Hint: "a configuration is UTF-8 text: set another value",
		}
	case t.kind == basic || t.kind == basicBlock:
		return escape(value), nil
	case t.kind == bare && !plainValue.MatchString(value):
		return "", &Error{
			What: fmt.Sprintf("the value of the environment variable %s is neither a number nor true or false", name),
			Hint: fmt.Sprintf(`put it in quotes: "${%s}"`, name),
		}
	case strings.ContainsFunc(value, isControl):
		return "", &Error{
			What: fmt.Sprintf("the value of the environment variable %s holds a line break or control character", name),
			Hint: fmt.Sprintf(`use a "..." string for it: "${%s}"`, name),
		}
	}
	return value, nil
}

// sameToken tells whether a string is still one string of its kind with the values in it.
func sameToken(t token, expanded string) bool {
	if t.kind == bare {
		return true
	}
	kind, size := nextToken(expanded)
	return kind == t.kind && size == len(expanded)
}

// escape writes a value so that it means itself in a "..." string.
func escape(value string) string {
	var out strings.Builder
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case isControl(r) || r == '\t':
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r == 0x7f
}
