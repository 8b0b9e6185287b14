package codec

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"logmule/forward/pack"
)

// fewFields is how many fields are put in order by looking through all of them; more are sorted.
const fewFields = 32

// appendElements appends an element for every SD-ID among the fields that are not in the header, each once, and nothing
// where there is none.
func appendElements(dst []byte, fields []pack.Field, taken [3]int) []byte {
	var few [fewFields]string
	ids := few[:0]
	sorted := len(fields) > fewFields
	if sorted {
		fields = slices.Clone(fields)
		slices.SortFunc(taken[:], func(a, b int) int { return cmp.Compare(b, a) })
		for i, t := range taken {
			if t >= 0 {
				fields = slices.Delete(fields, t, t+1)
			}
			taken[i] = -1
		}
		slices.SortStableFunc(fields, func(a, b pack.Field) int { return strings.Compare(elementOf(a.Name), elementOf(b.Name)) })
	}
	for i := range fields {
		id := elementOf(fields[i].Name)
		if slices.Contains(taken[:], i) {
			id = ""
		}
		ids = append(ids, id)
	}
	for i, id := range ids {
		if id == "" {
			continue // in the header, or in an element before
		}
		dst = append(append(dst, '['), id...)
		for j := i; j < len(ids); j++ {
			if ids[j] == id {
				dst = appendParams(dst, &fields[j], id)
				ids[j] = ""
			} else if sorted {
				break
			}
		}
		dst = append(dst, ']')
	}
	return dst
}

// elementOf returns the SD-ID that the name of a field begins with, ownElement where there is none.
func elementOf(name string) string {
	dot := strings.IndexByte(name, '.')
	if at := strings.IndexByte(name, '@'); at >= 0 && dot > at {
		for { // an enterprise number may go on behind a dot, but what is behind the last one is the name
			next := strings.IndexByte(name[dot+1:], '.')
			if next <= 0 || strings.Trim(name[dot+1:dot+1+next], "0123456789") != "" {
				break
			}
			dot += next + 1
		}
	}
	if dot <= 0 || dot > mostSDName || name[:dot] == ownElement {
		return ownElement
	}
	for i := range dot {
		if !isNameByte(name[i]) {
			return ownElement
		}
	}
	return name[:dot]
}

// appendParams appends the values of a field, each as a parameter. A name of nothing behind the dot is an element without
// parameters.
func appendParams(dst []byte, f *pack.Field, id string) []byte {
	name := f.Name
	if id != ownElement {
		name = name[len(id)+1:]
	}
	switch v := f.Value.(type) {
	case string:
		if name == "" && v == "" {
			return dst
		}
		dst = appendParam(dst, name, v)
	case []string:
		for _, v := range v {
			dst = appendParam(dst, name, v)
		}
	case []byte:
		dst = appendParam(dst, name, v)
	case [][]byte:
		for _, v := range v {
			dst = appendParam(dst, name, v)
		}
	case int64:
		dst = append(strconv.AppendInt(appendName(dst, name), v, 10), '"')
	case []int64:
		for _, v := range v {
			dst = append(strconv.AppendInt(appendName(dst, name), v, 10), '"')
		}
	case float64:
		dst = append(strconv.AppendFloat(appendName(dst, name), v, 'g', -1, 64), '"')
	case []float64:
		for _, v := range v {
			dst = append(strconv.AppendFloat(appendName(dst, name), v, 'g', -1, 64), '"')
		}
	case bool:
		dst = append(strconv.AppendBool(appendName(dst, name), v), '"')
	case []bool:
		for _, v := range v {
			dst = append(strconv.AppendBool(appendName(dst, name), v), '"')
		}
	}
	return dst
}

func appendParam[T string | []byte](dst []byte, name string, value T) []byte {
	dst = appendName(dst, name)
	for i := range len(value) {
		if isEscaped(value[i]) {
			dst = append(dst, '\\')
		}
		dst = append(dst, value[i])
	}
	return append(dst, '"')
}

// appendName appends a space, the name of a parameter as far as the RFC allows it, and what opens its value.
func appendName(dst []byte, name string) []byte {
	dst = append(dst, ' ')
	if name == "" {
		dst = append(dst, '_')
	}
	for i := range min(len(name), mostSDName) {
		c := name[i]
		if !isNameByte(c) {
			c = '_'
		}
		dst = append(dst, c)
	}
	return append(dst, `="`...)
}
