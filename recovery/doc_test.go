package recovery

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestPage holds docs/recovery.md against the report and the causes that there are.
func TestPage(t *testing.T) {
	text, err := os.ReadFile("../docs/recovery.md")
	if err != nil {
		t.Fatal(err)
	}
	says := func(word string) {
		t.Helper()
		if !strings.Contains(string(text), "`"+word) && !strings.Contains(string(text), "."+word) {
			t.Errorf("docs/recovery.md does not tell of %q", word)
		}
	}
	for cause := range meanings {
		says(cause)
	}
	seen := map[reflect.Type]bool{}
	var members func(reflect.Type)
	members = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || of.PkgPath() != reflect.TypeFor[Report]().PkgPath() || seen[of] {
			return
		}
		seen[of] = true
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if name != "" {
				says(name)
				members(of.Field(i).Type)
			}
		}
	}
	members(reflect.TypeFor[Report]())
}
