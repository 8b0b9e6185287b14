package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// The kinds of inputs and outputs, sorted: the values of the key type.
var (
	InputKinds  = []string{"file", "generate", "http", "stdin", "tcp", "udp", "unix"}
	OutputKinds = []string{"file", "http", "stdout", "tcp", "udp", "unix"}
)

// Section is an [input.NAME] or [output.NAME].
type Section struct {
	Name string // letters, digits, _ and -; part of the durable state
	Type string // one of InputKinds or OutputKinds
	Line int    // where it begins

	path  []string
	table map[string]any
	doc   *document
}

var sectionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// sections reads the tables of inputs or outputs, and leaves out those that cannot be told what they are.
func (d *decoder) sections(table map[string]any, what string, kinds []string) []Section {
	value, there := table[what]
	named, ok := value.(map[string]any)
	if there && !ok {
		d.add([]string{what}, fmt.Sprintf("%s is %s", what, describe(value)), fmt.Sprintf("write a section [%s.NAME] for each %s", what, what))
	}
	var all []Section
	for _, name := range sortedKeys(named) {
		path := []string{what, name}
		s := Section{Name: name, Line: d.doc.line(path), path: path, doc: d.doc}
		if s.table, ok = named[name].(map[string]any); !ok {
			d.notSection(path, named[name])
			continue
		}
		before := len(d.errs)
		d.sectionHead(&s, kinds)
		if len(d.errs) == before {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b Section) int { return cmp.Compare(a.Line, b.Line) })
	return all
}

// notSection reports a key where the name of a section should be.
func (d *decoder) notSection(path []string, value any) {
	if _, ok := value.([]map[string]any); ok {
		d.add(path, fmt.Sprintf("[[%s]] is a list of tables", strings.Join(path, ".")), fmt.Sprintf("write [%s]", strings.Join(path, ".")))
		return
	}
	d.add(path, fmt.Sprintf("%s stands in [%s], which has no name", path[1], path[0]), fmt.Sprintf("write [%s.NAME] above it", path[0]))
}

// sectionHead checks the name and sets the type.
func (d *decoder) sectionHead(s *Section, kinds []string) {
	if !sectionName.MatchString(s.Name) {
		d.add(s.path, fmt.Sprintf("%q cannot be the name of an %s", s.Name, s.path[0]), "use 1 to 64 letters, digits, _ and -")
	}
	value, there := s.table["type"]
	at := []string{s.path[0], s.path[1], "type"}
	types := list(quoted(kinds), "or")
	kind, ok := value.(string)
	switch {
	case !there:
		d.add(at, fmt.Sprintf("[%s.%s] has no type", s.path[0], s.Name), fmt.Sprintf("add type = %s", types))
	case !ok:
		d.wrong(value, at, "must be "+types)
	case !slices.Contains(kinds, kind):
		d.add(at, fmt.Sprintf("type = %q is not known%s", kind, Suggest(kind, kinds)), "use "+types)
	}
	s.Type = kind
}

// Decode fills a struct from the section, type excepted. into points to a struct that holds the defaults; its keys are
// the toml tags of its fields, those of embedded structs included. Fields are strings, bools, whole numbers, Bytes,
// Duration, time.Duration, anything else that is an encoding.TextUnmarshaler, structs, and slices and maps of these.
// A key without a field and a value of another type are errors: all of them, joined, each an *Error with its line.
func (s Section) Decode(into any) error { return s.DecodeAll(into) }

// DecodeAll is Decode for keys that stand in several structs: a key that none of them has is unknown. No two of them
// may have the same one.
func (s Section) DecodeAll(into ...any) error {
	all := make([]reflect.Value, len(into))
	for i := range into {
		v := reflect.ValueOf(into[i])
		if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
			return fmt.Errorf("decode section %s: %T is not a pointer to a struct", s.Name, into[i])
		}
		all[i] = v.Elem()
	}
	if s.doc == nil {
		s.doc = new(document)
	}
	d := decoder{doc: s.doc}
	d.tables(s.table, s.path, all, "type")
	return Join(d.errs...)
}

// Place gives an error of the section's kind its file and line, as one or several *Error: those that Decode made have
// theirs; any other is put at the key that its text begins with, such as "listen = ...", "tls.cert = ..." or "paths: ...",
// or else at the section.
func (s Section) Place(err error) error {
	if err == nil {
		return nil
	}
	var placed *Error
	if errors.As(err, &placed) {
		return err
	}
	e := &Error{Line: s.Line, What: err.Error()}
	if s.doc != nil {
		e.File = s.doc.name
	}
	word, _, _ := strings.Cut(e.What, " ")
	if keys := strings.Split(strings.TrimSuffix(word, ":"), "."); s.has(keys) {
		e.Line = s.doc.line(append(s.path[:len(s.path):len(s.path)], keys...))
		if s.doc.bad[e.Line] {
			return nil
		}
		return e
	}
	e.What = fmt.Sprintf("[%s]: %s", strings.Join(s.path, "."), e.What)
	return e
}

// has says whether the section has a key, which may be one of a table in it.
func (s Section) has(keys []string) bool {
	var value any = s.table
	for _, key := range keys {
		table, _ := value.(map[string]any)
		var ok bool
		if value, ok = table[key]; !ok {
			return false
		}
	}
	return true
}
