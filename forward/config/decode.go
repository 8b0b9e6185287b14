package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// document is a parsed file: what places an error in it.
type document struct {
	name  string
	lines map[string]int // by pathKey
	bad   map[int]bool   // lines with an error in their ${NAME}: no second one for the same reason
}

// line is where a path stands, or else the nearest of the tables it is in; 1 where nothing of it is known.
func (d *document) line(path []string) int {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if line, ok := d.lines[pathKey(path)]; ok {
			return line
		}
	}
	return 1
}

// decoder fills structs from tables and collects what is wrong.
type decoder struct {
	doc  *document
	errs []error
}

// add notes an error about the last key of a path.
func (d *decoder) add(path []string, what, hint string) {
	e := &Error{File: d.doc.name, Line: d.doc.line(path), What: what, Hint: hint}
	if !d.doc.bad[e.Line] {
		d.errs = append(d.errs, e)
	}
}

// fields adds the places of a struct's keys to all, those of embedded structs included, and returns the keys in order.
func fields(v reflect.Value, all map[string]reflect.Value, names []string) []string {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		switch {
		case f.Anonymous && key == "" && f.Type.Kind() == reflect.Struct:
			names = fields(v.Field(i), all, names)
		case key != "" && key != "-" && f.IsExported():
			all[key] = v.Field(i)
			names = append(names, key)
		}
	}
	return names
}

// table decodes a table into a struct. Keys in others are left to the caller.
func (d *decoder) table(table map[string]any, path []string, v reflect.Value, others ...string) {
	d.tables(table, path, []reflect.Value{v}, others...)
}

// tables decodes a table into several structs, each of which has keys of its own.
func (d *decoder) tables(table map[string]any, path []string, structs []reflect.Value, others ...string) {
	known := make(map[string]reflect.Value)
	var names []string
	for _, v := range structs {
		names = fields(v, known, names)
	}
	names = append(names, others...)
	for _, key := range sortedKeys(table) {
		at := append(path[:len(path):len(path)], key)
		if place, ok := known[key]; ok {
			d.value(table[key], at, place)
		} else if !slices.Contains(others, key) {
			d.unknown(table[key], at, names)
		}
	}
}

func sortedKeys(table map[string]any) []string {
	keys := make([]string, 0, len(table))
	for k := range table {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// unknown reports a key that nobody reads.
func (d *decoder) unknown(value any, path []string, names []string) {
	key, section := path[len(path)-1], path[:len(path)-1]
	where, hint := "", "the keys are "+list(names, "and")
	if len(section) > 0 {
		where = " in [" + strings.Join(section, ".") + "]"
		if slices.Contains([]string{"data_dir", "shutdown_timeout", "memory_limit"}, key) {
			hint = "it belongs to the top: move it above the first [section]"
		}
	}
	kind := fmt.Sprintf("unknown key %q", key)
	switch value.(type) {
	case map[string]any, []map[string]any:
		kind = fmt.Sprintf("unknown section [%s]", strings.Join(path, "."))
		where = ""
	}
	d.add(path, kind+where+Suggest(key, names), hint)
}

// value sets v, and tells whether it could.
func (d *decoder) value(value any, path []string, v reflect.Value) bool {
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return d.text(value, path, text)
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		return d.value(value, path, v.Addr().Convert(reflect.TypeFor[*Duration]()).Elem())
	}
	switch v.Kind() {
	case reflect.String:
		s, ok := value.(string)
		if !ok {
			return d.wrong(value, path, "must be a string in quotes")
		}
		v.SetString(s)
		return true
	case reflect.Bool:
		b, ok := value.(bool)
		if !ok {
			return d.wrong(value, path, "must be true or false, without quotes")
		}
		v.SetBool(b)
		return true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, ok := value.(int64)
		if !ok || v.OverflowInt(n) {
			return d.wrong(value, path, "must be a whole number, without quotes")
		}
		v.SetInt(n)
		return true
	case reflect.Slice:
		return d.slice(value, path, v)
	case reflect.Map:
		return d.mapping(value, path, v)
	case reflect.Struct:
		table, ok := value.(map[string]any)
		if !ok {
			return d.wrong(value, path, "must be a section or a table { ... }")
		}
		before := len(d.errs)
		d.table(table, path, v)
		return len(d.errs) == before
	default:
		d.add(path, fmt.Sprintf("%s cannot be configured", path[len(path)-1]), "remove it")
		return false
	}
}

func (d *decoder) slice(value any, path []string, v reflect.Value) bool {
	list, ok := value.([]any)
	if !ok {
		return d.wrong(value, path, `must be a list, such as ["a", "b"]`)
	}
	all := reflect.MakeSlice(v.Type(), len(list), len(list))
	for i, element := range list {
		if !d.value(element, path, all.Index(i)) {
			return false
		}
	}
	v.Set(all)
	return true
}

func (d *decoder) mapping(value any, path []string, v reflect.Value) bool {
	table, ok := value.(map[string]any)
	if !ok || v.Type().Key().Kind() != reflect.String {
		return d.wrong(value, path, "must be a section or a table { ... }")
	}
	all := reflect.MakeMap(v.Type())
	for _, key := range sortedKeys(table) {
		element := reflect.New(v.Type().Elem()).Elem()
		if !d.value(table[key], append(path[:len(path):len(path)], key), element) {
			return false
		}
		all.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), element)
	}
	v.Set(all)
	return true
}

// text sets a value that reads itself from a string.
func (d *decoder) text(value any, path []string, v encoding.TextUnmarshaler) bool {
	s, ok := value.(string)
	if !ok {
		switch v.(type) {
		case *Bytes:
			return d.wrong(value, path, `must be a string with a unit, such as "64MiB"`)
		case *Duration:
			return d.wrong(value, path, `must be a string with a unit, such as "10s"`)
		default:
			return d.wrong(value, path, "must be a string in quotes")
		}
	}
	err := v.UnmarshalText([]byte(s))
	if err == nil {
		return true
	}
	e := &Error{What: "cannot be read: " + err.Error()}
	errors.As(err, &e)
	d.add(path, fmt.Sprintf("%s = %q %s", path[len(path)-1], s, e.What), e.Hint)
	return false
}

// wrong reports a value of the wrong type.
func (d *decoder) wrong(value any, path []string, hint string) bool {
	key := path[len(path)-1]
	d.add(path, fmt.Sprintf("%s is %s", key, describe(value)), "it "+hint)
	return false
}

func describe(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("the string %q", v)
	case int64:
		return "the number " + strconv.FormatInt(v, 10)
	case float64:
		return "the number " + strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "a list"
	case []map[string]any:
		return "a list of tables [[...]]"
	case map[string]any:
		return "a table"
	default:
		return "a date or time"
	}
}

// list joins names as a sentence does.
func list(names []string, word string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " " + word + " " + names[len(names)-1]
}

func quoted(words []string) []string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = fmt.Sprintf("%q", w)
	}
	return all
}
