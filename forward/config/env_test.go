package config

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// environment is a made-up one.
var environment = map[string]string{
	"A": "a", "EMPTY": "", "N": "15", "YES": "true", "QUOTE": `"`, "SINGLE": "'", "BACK": `\`, "LINE": "x\ny", "NUL": "\x01",
	"INJECT": "x\"\n[admin]\ninsecure = true\n#", "DOLLAR": "${A} $A", "BAD": "\xff", "UNICODE": "ä€", "TAB": "a\tb", "TABLE": "{}",
}

func lookup(name string) (string, bool) {
	v, ok := environment[name]
	return v, ok
}

// TestExpand looks at the value that the TOML parser sees.
func TestExpand(t *testing.T) {
	for text, want := range map[string]any{
		`"${A}"`:                         "a",
		`"x${A}${A}y"`:                   "xaay",
		`'${A}'`:                         "a",
		`"""${A}"""`:                     "a",
		`'''${A}'''`:                     "a",
		`"${NONE:-d}"`:                   "d",
		`"${NONE:-}"`:                    "",
		`"${NONE:-a b:-$c\t}"`:           "a b:-$c\t",
		`"${A:-d}"`:                      "a",
		`"${EMPTY}"`:                     "",
		`"${EMPTY:-d}"`:                  "d",
		`${N}`:                           int64(15),
		`1${N}`:                          int64(115),
		`${NONE:-7}`:                     int64(7),
		`${YES}`:                         true,
		`"${N}"`:                         "15",
		`"$A $1 $$ $$A ${} ${1} ${A"`:    "$A $1 $$ $$A ${} ${1} ${A",
		`"${A:+x} ${A-x} ${a b} $ {A}"`:  "${A:+x} ${A-x} ${a b} $ {A}",
		`"$${A}"`:                        "$a",
		`"\u0024{A}"`:                    "${A}",
		`"${QUOTE}"`:                     `"`,
		`"""${QUOTE}${QUOTE}${QUOTE}"""`: `"""`,
		`"${BACK}${QUOTE}"`:              `\"`,
		`"${BACK}n"`:                     `\n`,
		`"\\${QUOTE}"`:                   `\"`,
		`"${LINE}"`:                      "x\ny",
		`"${NUL}"`:                       "\x01",
		`"${INJECT}"`:                    environment["INJECT"],
		`"""${INJECT}"""`:                environment["INJECT"],
		`"${DOLLAR}"`:                    "${A} $A",
		`"${UNICODE}"`:                   "ä€",
		`"${TAB}"`:                       "a\tb",
		`'${TAB}'`:                       "a\tb",
		`'${QUOTE}${BACK}'`:              `"\`,
		`"#${A}"`:                        "#a",
		`1 # ${NONE} "${NONE}"`:          int64(1),
	} {
		got, errs := expand("f", "v = "+text, lookup)
		if len(errs) > 0 {
			t.Errorf("%s: %v", text, errs)
			continue
		}
		var table map[string]any
		if _, err := toml.Decode(got, &table); err != nil {
			t.Errorf("%s became %s: %v", text, got, err)
			continue
		}
		if table["v"] != want || len(table) != 1 {
			t.Errorf("%s: got %#v, want %#v", text, table, want)
		}
	}
}

func TestExpandErrors(t *testing.T) {
	for text, want := range map[string]string{
		`"${NONE}"`:                 "f:3: the environment variable NONE is not set; set it, or write ${NONE:-default}",
		`${NONE}`:                   "f:3: the environment variable NONE is not set; set it, or write ${NONE:-default}",
		"\"\"\"\n\n${NONE}\n\"\"\"": "f:5: the environment variable NONE is not set; set it, or write ${NONE:-default}",
		`${A}`:                      `f:3: the value of the environment variable A is neither a number nor true or false; put it in quotes: "${A}"`,
		`${TABLE}`:                  `f:3: the value of the environment variable TABLE is neither a number nor true or false; put it in quotes: "${TABLE}"`,
		`${EMPTY}`:                  `f:3: the value of the environment variable EMPTY is neither a number nor true or false; put it in quotes: "${EMPTY}"`,
		`'${SINGLE}'`:               `f:3: the value of the environment variable SINGLE does not fit into this string; use a "..." string for it: "${SINGLE}"`,
		`'''${LINE}'''`:             `f:3: the value of the environment variable LINE holds a line break or control character; use a "..." string for it: "${LINE}"`,
		`'${NUL}'`:                  `f:3: the value of the environment variable NUL holds a line break or control character; use a "..." string for it: "${NUL}"`,
		`'''a''${EMPTY}'b'''`:       `f:3: the value of the environment variable EMPTY does not fit into this string; use a "..." string for it: "${EMPTY}"`,
		`"${BAD}"`:                  "f:3: the value of the environment variable BAD is not UTF-8; a configuration is UTF-8 text: set another value",
	} {
		got, errs := expand("f", "\n\nv = "+text, lookup)
		if len(errs) != 1 || errs[0].Error() != want {
			t.Errorf("%s: errors %v, want %s", text, errs, want)
		}
		var table map[string]any
		if _, err := toml.Decode(got, &table); err != nil {
			t.Errorf("%s: what is left, %q, cannot be checked further: %v", text, got, err)
		}
	}
}

// A backslash before the reference is an error of the TOML parser, whatever the value.
func TestEscapedReferenceStays(t *testing.T) {
	for _, name := range []string{"QUOTE", "A", "BACK"} {
		text := `v = "\${` + name + `}"`
		if got, errs := expand("f", text, lookup); got != text || len(errs) > 0 {
			t.Errorf("%s became %s, %v", text, got, errs)
		}
	}
}

func TestOneErrorForAMissingVariable(t *testing.T) {
	_, err := Parse("f", []byte("data_dir = '/x'\n[queue]\nmax_size = \"${LM_NONE}\"\n[admin]\nlisten = \"${LM_NONE}\""))
	if err == nil || strings.Count(err.Error(), "\n") != 1 || strings.Count(err.Error(), "LM_NONE is not set") != 2 {
		t.Errorf("error %v, want just the two variables", err)
	}
}

// FuzzExpand: whatever a variable holds, one string stays one string with that value in it, and nothing else changes.
func FuzzExpand(f *testing.F) {
	for _, v := range environment {
		f.Add(v)
	}
	f.Add(`"""`)
	f.Add(`'''`)
	f.Fuzz(func(t *testing.T, value string) {
		for _, quote := range []string{`"`, `'`, `"""`, `'''`, ``} {
			text := "v = " + quote + "x${V}y" + quote + "\n"
			if quote == "" {
				text = "v = ${V}\n"
			}
			got, errs := expand("f", text, func(string) (string, bool) { return value, true })
			if strings.Count(got, "\n") != 1 {
				t.Fatalf("lines moved: %q", got)
			}
			if len(errs) > 0 {
				continue
			}
			var table map[string]any
			if _, err := toml.Decode(got, &table); err != nil {
				if quote == "" {
					continue // a number that is none, such as 1__0: the parser says so
				}
				t.Fatalf("%q: %v", got, err)
			}
			if len(table) != 1 || quote != "" && table["v"] != "x"+value+"y" {
				t.Fatalf("%q holds %v", got, table)
			}
		}
	})
}
