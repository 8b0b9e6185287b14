package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// live are the keys that change while the process runs, beside all of [input.NAME] and [output.NAME].
var live = []string{
	"shutdown_timeout", "log.level",
	"queue.max_size", "queue.min_free", "queue.when_full", "queue.keep_for", "queue.keep_size", "queue.forget_after",
	"queue.scrub_rate",
}

// Equal tells whether two sections say the same, wherever they stand in their files, with the variables of the
// environment put in.
func (s Section) Equal(o Section) bool {
	return s.Name == o.Name && s.Type == o.Type && reflect.DeepEqual(s.table, o.table)
}

// Replace prepares c to take the place of a configuration that is in force. It puts back what only a restart can
// change, and returns a warning for each such key. The error says that c cannot take its place at all.
func (c *Config) Replace(old *Config) ([]*Error, error) {
	if c.DataDir != "" && c.DataDir != old.DataDir { // without one it is wrong in any case
		return nil, c.about([]string{"data_dir"}, fmt.Sprintf("data_dir = %q cannot take the place of %q while logmule runs", c.DataDir, old.DataDir),
			"stop logmule and start it again to use another directory")
	}
	var warnings []*Error
	putBack(reflect.ValueOf(c).Elem(), reflect.ValueOf(old).Elem(), nil, func(path []string) {
		warnings = append(warnings, c.about(path, strings.Join(path, ".")+" changes only with a restart", "everything else is applied; stop and start logmule for this key"))
	})
	return warnings, nil
}

// putBack sets the fields of v that differ from old and are not live, and names them.
func putBack(v, old reflect.Value, path []string, name func(path []string)) {
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("toml"), ",")
		if key == "" {
			continue
		}
		at, field := append(path[:len(path):len(path)], key), v.Field(i)
		if _, text := field.Addr().Interface().(encoding.TextUnmarshaler); !text && field.Kind() == reflect.Struct {
			putBack(field, old.Field(i), at, name)
			continue
		}
		if !reflect.DeepEqual(field.Interface(), old.Field(i).Interface()) && !slices.Contains(live, strings.Join(at, ".")) {
			field.Set(old.Field(i))
			name(at)
		}
	}
}

// File is the name of the file that c was read from.
func (c *Config) File() string {
	if c.doc == nil {
		return ""
	}
	return c.doc.name
}

// about is an error at a key.
func (c *Config) about(path []string, what, hint string) *Error {
	e := &Error{What: what, Hint: hint}
	if c.doc != nil {
		e.File, e.Line = c.doc.name, c.doc.line(path)
	}
	return e
}
