package config

import (
	"regexp"
	"strconv"
	"strings"
)

// The TOML parser decides what is valid. What it does not tell is where a key stands and what is a comment; for that the
// text is cut into tokens here, leniently: whatever is wrong with it the parser reports.

type tokenKind uint8

const (
	bare         tokenKind = iota // a bare key, a number, a date, or ${NAME} outside a string
	punctuation                   // one of [ ] { } = , .
	lineEnd                       // LF
	comment                       // # up to the end of the line
	basic                         // "..."
	literal                       // '...'
	basicBlock                    // """..."""
	literalBlock                  // '''...'''
)

type token struct {
	kind tokenKind
	text string
	line int
}

// variable is a reference to the environment. Anything else with a dollar sign stays as it is.
var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}\n]*))?\}`)

// bareVariable is the same where it stands at the start of what follows, outside a string.
var bareVariable = regexp.MustCompile(`^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}\n"'#]*)?\}`)

// tokens cuts a text into tokens. White space between them is left out, unless blanks are asked for: then it comes as
// bare tokens, and the texts of all tokens joined are the whole text.
func tokens(text string, blanks bool) []token {
	var all []token
	line := 1
	for len(text) > 0 {
		kind, size := nextToken(text)
		t := token{kind: kind, text: text[:size], line: line}
		line += strings.Count(t.text, "\n")
		text = text[size:]
		if blanks || kind != bare || strings.TrimLeft(t.text, " \t\r") != "" {
			all = append(all, t)
		}
	}
	return all
}

// nextToken returns the kind and length of the first token of a text that is not empty.
func nextToken(text string) (tokenKind, int) {
	switch c := text[0]; {
	case c == '\n':
		return lineEnd, 1
	case c == '#':
		return comment, until(text, "\n")
	case strings.HasPrefix(text, `"""`):
		return basicBlock, closing(text, `"""`, true)
	case strings.HasPrefix(text, `'''`):
		return literalBlock, closing(text, `'''`, false)
	case c == '"':
		return basic, closing(text, `"`, true)
	case c == '\'':
		return literal, closing(text, `'`, false)
	case strings.IndexByte("[]{}=,.", c) >= 0:
		return punctuation, 1
	case c == ' ' || c == '\t' || c == '\r':
		return bare, len(text) - len(strings.TrimLeft(text, " \t\r"))
	case c == '$':
		return bare, max(1, len(bareVariable.FindString(text)))
	default:
		return bare, until(text, " \t\r\n\"'#[]{}=,.$")
	}
}

// until is the length of the text before any of the bytes, all of it where there is none.
func until(text, stop string) int {
	if i := strings.IndexAny(text, stop); i >= 0 {
		return i
	}
	return len(text)
}

// closing is the length of a string that starts and ends with the quote. A string of one line that has no end goes up
// to the end of the line, a block to the end of the text. A block may end in up to two more quotes, which belong to it.
func closing(text, quote string, escapes bool) int {
	for i := len(quote); i < len(text); i++ {
		switch {
		case escapes && text[i] == '\\':
			i++
		case len(quote) == 1 && text[i] == '\n':
			return i
		case strings.HasPrefix(text[i:], quote):
			end := i + len(quote)
			for n := 0; len(quote) == 3 && n < 2 && end < len(text) && text[end] == quote[0]; n++ {
				end++
			}
			return end
		}
	}
	return len(text)
}

// keyLines finds the line of every key and section of a valid TOML text, by its path. In arrays nothing is found.
func keyLines(text string) map[string]int {
	x := lineIndex{lines: make(map[string]int)}
	for _, t := range tokens(text, false) {
		if t.kind != comment {
			x.tokens = append(x.tokens, t)
		}
	}
	var section []string
	for len(x.tokens) > 0 {
		switch t := x.tokens[0]; {
		case t.kind == lineEnd:
			x.tokens = x.tokens[1:]
		case t.text == "[":
			for x.accept("[") {
			}
			section = x.key(nil)
			for x.accept("]") {
			}
		default:
			x.pair(section)
		}
	}
	return x.lines
}

type lineIndex struct {
	tokens []token
	lines  map[string]int
}

// pathKey makes a map key of a path.
func pathKey(path []string) string {
	return strings.Join(path, "\x00")
}

func (x *lineIndex) accept(text string) bool {
	if len(x.tokens) == 0 || x.tokens[0].kind != punctuation || x.tokens[0].text != text {
		return false
	}
	x.tokens = x.tokens[1:]
	return true
}

// key reads a key, dotted or not, and notes the line of it and of the tables on its way.
func (x *lineIndex) key(path []string) []string {
	path = path[:len(path):len(path)]
	for len(x.tokens) > 0 && (x.tokens[0].kind != punctuation || x.tokens[0].text == ".") && x.tokens[0].kind != lineEnd {
		t := x.tokens[0]
		x.tokens = x.tokens[1:]
		if t.kind == punctuation {
			continue
		}
		path = append(path, keyText(t))
		if _, known := x.lines[pathKey(path)]; !known {
			x.lines[pathKey(path)] = t.line
		}
	}
	return path
}

// keyText is the name that a token stands for.
func keyText(t token) string {
	switch t.kind {
	case basic:
		if name, err := strconv.Unquote(t.text); err == nil {
			return name
		}
	case literal:
		return strings.Trim(t.text, "'")
	}
	return t.text
}

// pair reads a key and its value, and always at least one token.
func (x *lineIndex) pair(section []string) {
	left := len(x.tokens)
	path := x.key(section)
	if x.accept("=") {
		x.value(path)
	}
	if len(x.tokens) == left {
		x.tokens = x.tokens[1:]
	}
}

// value reads a value, and the keys in it where it is an inline table.
func (x *lineIndex) value(path []string) {
	if !x.accept("{") {
		x.skipValue()
		return
	}
	for len(x.tokens) > 0 && !x.accept("}") {
		if x.tokens[0].kind == lineEnd || x.tokens[0].text == "," {
			x.tokens = x.tokens[1:]
			continue
		}
		x.pair(path)
	}
}

// skipValue passes a value that holds no keys, up to what ends it: the line, or the comma or bracket of what it is in.
func (x *lineIndex) skipValue() {
	depth := 0
	for ; len(x.tokens) > 0; x.tokens = x.tokens[1:] {
		t := x.tokens[0]
		switch {
		case depth == 0 && (t.kind == lineEnd || t.kind == punctuation && strings.Contains(",]}", t.text)):
			return
		case t.kind != punctuation:
		case t.text == "[" || t.text == "{":
			depth++
		case t.text == "]" || t.text == "}":
			depth--
		}
	}
}
