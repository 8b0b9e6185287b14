package match

import (
	"strings"
	"testing"
	"time"

	"logmule/forward/pack"
)

// sample is a record with something in every part of it.
func sample() pack.Record {
	return pack.Record{Payload: []byte(`GET /index.html 200 "curl"`), Attributes: pack.Attributes{
		Timestamp: time.Date(2026, 1, 31, 14, 5, 0, 0, time.UTC).UnixNano(), Type: "nginx", Logger: "/var/log/nginx/access.log", Severity: 4,
		Pid: 77, Hostname: "web1", Fields: []pack.Field{
			{Name: "status", Value: int64(200)}, {Name: "took", Value: 0.25}, {Name: "cached", Value: true}, {Name: "user", Value: "ann"},
			{Name: "raw", Value: []byte("by\xffes")}, {Name: "tags", Value: []string{"a", "b"}}, {Name: "sizes", Value: []int64{1, 2}},
			{Name: "none", Value: []string{}}, {Name: "user", Value: "second"},
		},
	}}
}

var cases = []struct {
	text  string
	takes bool
	fails string
}{
	{`true`, true, ""},
	{`false`, false, ""},
	{`type == "nginx"`, true, ""},
	{`type != "nginx"`, false, ""},
	{`type in ["apache", "nginx"]`, true, ""},
	{`type == "nginx" and severity <= 4 && not (hostname startsWith "db")`, true, ""},
	{`logger endsWith "access.log" || type == "x"`, true, ""},
	{`logger matches "^/var/log/[a-z]+/"`, true, ""},
	{`severity < 4`, false, ""},
	{`severity in 0..4`, true, ""},
	{`pid == 77`, true, ""},
	{`pid > 70 and pid < 80`, true, ""},
	{`hostname == "web1"`, true, ""},
	{`payload contains "curl"`, true, ""},
	{`payload contains "\xff"`, false, ""},
	{`payload == ""`, false, ""},
	{`len(payload) > 10`, true, ""},
	{`payload matches " [45][0-9][0-9] "`, false, ""},
	{`lower(payload) startsWith "get"`, true, ""},
	{`split(payload, " ")[1] == "/index.html"`, true, ""},
	{`timestamp > date("2026-01-31")`, true, ""},
	{`timestamp < date("2026-01-31T14:00:00Z")`, false, ""},
	{`timestamp.Hour() == 14`, true, ""},
	{`timestamp.Weekday().String() == "Saturday"`, true, ""},
	{`fields["status"] == 200`, true, ""},
	{`fields.status >= 500`, false, ""},
	{`fields["status"] in [200, 204]`, true, ""},
	{`fields["took"] > 0.2`, true, ""},
	{`fields["took"] < 1`, true, ""},
	{`fields["cached"]`, true, ""},
	{`!fields["cached"]`, false, ""},
	{`fields["user"] == "ann"`, true, ""},
	{`fields["raw"] startsWith "by"`, true, ""},
	{`"b" in fields["tags"]`, true, ""},
	{`any(fields["tags"], # == "a")`, true, ""},
	{`2 in fields["sizes"]`, true, ""},
	{`fields["none"] == nil`, false, ""},
	{`len(fields["none"]) == 0`, true, ""},
	{`let s = fields["status"]; s >= 200 and s < 300`, true, ""},
	{`$env["type"] == "nginx"`, true, ""},
	{`$env["payload"] contains "curl"`, true, ""},

	{`fields["missing"] == nil`, true, ""},
	{`fields["missing"] != nil`, false, ""},
	{`fields["missing"]`, false, ""},
	{`!fields["missing"]`, true, ""},
	{`not fields["missing"]`, true, ""},
	{`fields["missing"] > 3`, false, ""},
	{`fields["missing"] < 3`, false, ""},
	{`3 >= fields["missing"]`, false, ""},
	{`3 <= fields["missing"]`, false, ""},
	{`not (fields["missing"] > 3)`, true, ""},
	{`fields["missing"] == 3`, false, ""},
	{`fields["missing"] == ""`, false, ""},
	{`fields["missing"] in [1, 2]`, false, ""},
	{`"x" in fields["missing"]`, false, ""},
	{`fields["missing"] contains "x"`, false, ""},
	{`fields["missing"] startsWith "x"`, false, ""},
	{`fields["missing"] endsWith "x"`, false, ""},
	{`fields["missing"] matches "x"`, false, ""},
	{`(fields["missing"] ?? "x") == "x"`, true, ""},
	{`fields["missing"].deeper == 1`, false, ""},
	{`fields["missing"]["a"]["b"] == nil`, true, ""},
	{`fields["missing"][0] == "a"`, false, ""},
	{`fields["tags"][0] == "a"`, true, ""},
	{`fields["missing"][0:2] == []`, true, ""},
	{`fields["tags"][0:1] == ["a"]`, true, ""},
	{`any(fields["missing"], # == 1)`, false, ""},
	{`all(fields["missing"], # == 1)`, true, ""},
	{`none(fields["missing"], # == 1)`, true, ""},
	{`count(fields["missing"], # == 1) == 0`, true, ""},
	{`filter(fields["missing"], # == 1) == []`, true, ""},
	{`find(fields["missing"], # == 1) == nil`, true, ""},
	{`first(fields["missing"]) == nil`, true, ""},
	{`sum(fields["missing"]) > 0`, false, ""},
	{`sum(fields["sizes"]) == 3`, true, ""},
	{`join(fields["tags"], "-") == "a-b"`, true, ""},
	{`join(fields["missing"], "-") == ""`, true, ""},
	{`len(fields["missing"]) > 1`, false, ""},
	{`lower(fields["missing"]) == "ann"`, false, ""},
	{`upper(fields["user"]) == "ANN"`, true, ""},
	{`fields["missing"] | trim() | split(" ") == [""]`, true, ""},
	{`replace(fields["user"], "n", "m") == "amm"`, true, ""},
	{`indexOf(fields["missing"], "x") >= 0`, false, ""},
	{`$env["fields"]["missing"]["deeper"] == nil`, true, ""},
	{`int(fields["missing"] ?? 0) > 3`, false, ""},
	{`int(fields["status"] ?? 0) > 3`, true, ""},
	{`fields["missing"] and true`, false, ""},
	{`fields["missing"] or true`, true, ""},

	{`fields["user"] > 3`, false, "invalid operation: string > int"},
	{`fields["status"] contains "2"`, false, "interface conversion"},
	{`!fields["user"]`, false, "not before a string"},
	{`fields["user"]`, false, "the result is a string"},
	{`split(payload, " ")[50] == ""`, false, "out of range"},
	{`any(fields["status"], # == 1)`, false, "what should be a list is of the type int"},
	{`count(1..200000, # > 5) > 1`, false, "memory budget exceeded"},
}

// TestExpressions decides one record by every way there is.
func TestExpressions(t *testing.T) {
	r := sample()
	whole := r.Append(nil)
	shared := r.Attributes.Append(nil)
	for _, c := range cases {
		m, err := Compile(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		judge := func(way string, takes bool, err error) {
			t.Helper()
			if takes != c.takes || (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s, %s: %v, %v; want %v, error %q", c.text, way, takes, err, c.takes, c.fails)
			}
		}
		for range 2 { // the second time from memory, where there is one
			takes, err := m.Record(nil, whole, pack.Records)
			judge("record by itself", takes, err)
			takes, err = m.Record(shared, r.Payload, pack.Lines)
			judge("line", takes, err)
			takes, err = m.Record((&pack.Attributes{Type: "other", Severity: 1, Hostname: "x"}).Append(nil), whole, pack.Records)
			judge("own attributes over shared ones", takes, err)
			if err := m.Share(shared); err != nil {
				t.Error(err)
			}
			takes, err = m.Payload(r.Payload)
			judge("payload by itself", takes, err)
			if !m.NeedsPayload() {
				takes, err = m.Attributes(shared)
				judge("attributes", takes, err)
			}
		}
	}
}

func TestCompileErrors(t *testing.T) {
	const name = "; the names are fields, hostname, logger, payload, pid, severity, timestamp, type"
	for text, want := range map[string]string{
		``:                               `match is empty; write an expression such as type == "nginx", or remove it to take all records`,
		"  ":                             `match is empty; write an expression such as type == "nginx", or remove it to take all records`,
		`x ==`:                           `match cannot be read at character 4: unexpected token EOF; write an expression such as type == "nginx"`,
		`tpye == "nginx"`:                `match cannot be read at character 1: unknown name tpye (did you mean "type"?)` + name,
		`type == "x" and sevrity > 3`:    `match cannot be read at character 17: unknown name sevrity (did you mean "severity"?)` + name,
		"type == 'x'\nand\n  hots == ''": `match cannot be read at character 3 of line 3: unknown name hots` + name,
		`contain(payload, "x")`:          `match cannot be read at character 1: unknown name contain` + name,
		`lenn(payload) > 3`:              `match cannot be read at character 1: unknown name lenn (did you mean "len"?)` + name,
		`severity == "error"`:            `match cannot be read at character 10: invalid operation: == (mismatched types int and string); write an expression such as type == "nginx"`,
		`severity`:                       `match gives a int instead of true or false; compare it with something, as in type == "nginx"`,
		`payload + "x"`:                  `match gives a string instead of true or false; compare it with something, as in type == "nginx"`,
		`fields`:                         `match gives a map[string]interface {} instead of true or false; compare it with something, as in type == "nginx"`,
		`timestamp > now()`:              `match cannot be read at character 13: unknown name now; there is no clock: a record has to be decided the same way whenever it is read; compare timestamp with date("2026-01-31")`,
		"payload matches '('":            "match cannot be read at character 9: error parsing regexp: missing closing ): `(`; write an expression such as type == \"nginx\"",
	} {
		if _, err := Compile(text); err == nil || err.Error() != want {
			t.Errorf("%q: got\n%v\nwant\n%s", text, err, want)
		}
	}
	if _, err := Compile(strings.Repeat(`pid == 1 or `, mostNodes) + "true"); err == nil || !strings.HasPrefix(err.Error(), "match ") {
		t.Errorf("an expression without measure: %v", err)
	}
}

func TestNeedsPayload(t *testing.T) {
	for text, want := range map[string]bool{
		`type == "x"`: false, `true`: false, `fields["payload"] == 1`: false, `timestamp.Hour() > 3`: false, `type == "payload"`: false,
		`payload == ""`: true, `type == "x" and len(payload) > 3`: true, `any(["a"], payload contains #)`: true, `$env["payload"] == ""`: true,
		`(let p = payload; p) == ""`: true,
	} {
		m, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.NeedsPayload(); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// TestDecisionsAreRemembered: what the expression does not look at makes no difference, what it looks at does.
func TestDecisionsAreRemembered(t *testing.T) {
	m, err := Compile(`type == "a" and fields["n"] != 3`)
	if err != nil {
		t.Fatal(err)
	}
	decide := func(a pack.Attributes, want bool) {
		t.Helper()
		if takes, err := m.Attributes(a.Append(nil)); err != nil || takes != want {
			t.Errorf("%+v: %v, %v", a, takes, err)
		}
	}
	for i := range 100 {
		decide(pack.Attributes{Timestamp: int64(i), Type: "a", Logger: string(rune('a' + i))}, true)
		decide(pack.Attributes{Timestamp: int64(i), Type: "b", Logger: string(rune('a' + i))}, false)
		decide(pack.Attributes{Type: "a", Pid: int32(i), Fields: []pack.Field{{Name: "n", Value: int64(3)}}}, false)
	}
	if len(m.known) != 3 {
		t.Errorf("%d decisions are remembered, want 3", len(m.known))
	}
	for i := range 3 * knownMost {
		decide(pack.Attributes{Type: "a", Fields: []pack.Field{{Name: "n", Value: int64(i + 10)}}}, true)
	}
	if len(m.known) > knownMost {
		t.Errorf("%d decisions are remembered, want at most %d", len(m.known), knownMost)
	}
	decide(pack.Attributes{Type: "a", Fields: []pack.Field{{Name: "n", Value: strings.Repeat("x", knownKey)}}}, true)
	for key := range m.known {
		if len(key) > knownKey {
			t.Errorf("a key of %d bytes is remembered", len(key))
		}
	}
	if m, err = Compile(`timestamp.Year() == 1970`); err != nil {
		t.Fatal(err)
	}
	decide(pack.Attributes{Timestamp: 5}, true)
	decide(pack.Attributes{Timestamp: time.Now().UnixNano()}, false)
	if len(m.known) > 0 {
		t.Error("decisions about times are remembered")
	}
}

func TestMalformedRecordsAreNotTaken(t *testing.T) {
	for _, text := range []string{`true`, `payload == ""`, `timestamp.Year() > 0`} {
		m, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"\xff", "\x10", "\x08\x01"} {
			if takes, err := m.Record([]byte(bad), nil, pack.Lines); takes || err == nil {
				t.Errorf("%s: attributes %q: %v, %v", text, bad, takes, err)
			}
			if takes, err := m.Record(nil, []byte(bad), pack.Records); takes || err == nil {
				t.Errorf("%s: record %q: %v, %v", text, bad, takes, err)
			}
		}
	}
}

func TestCost(t *testing.T) {
	r := sample()
	r.Timestamp = 1e18
	packs := [][]byte{r.Attributes.Append(nil), nil}
	r.Timestamp++
	packs[1] = r.Attributes.Append(nil)
	m, err := Compile(`type == "nginx" and severity < 5`)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		i++
		if takes, err := m.Attributes(packs[i%2]); !takes || err != nil {
			t.Fatal(takes, err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a decision from memory", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	r := sample()
	shared := r.Attributes.Append(nil)
	for _, text := range []string{`type == "nginx"`, `severity <= 3 and hostname == "web1"`, `fields["status"] >= 500`} {
		b.Run("attributes/"+text, func(b *testing.B) {
			m, _ := Compile(text)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = m.Attributes(shared)
			}
		})
	}
	for _, text := range []string{`payload contains "curl"`, `payload matches " [45][0-9][0-9] "`} {
		b.Run("payload/"+text, func(b *testing.B) {
			m, _ := Compile(text)
			_ = m.Share(shared)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = m.Payload(r.Payload)
			}
		})
	}
}

// FuzzCompile: no text and no record make it panic.
func FuzzCompile(f *testing.F) {
	for _, c := range cases {
		f.Add(c.text, []byte(nil))
	}
	r := sample()
	f.Add(`fields["n"] > 3 or payload matches fields["x"]`, r.Append(nil))
	f.Fuzz(func(t *testing.T, text string, own []byte) {
		m, err := Compile(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "match ") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if strings.Contains(text, "..") || len(text) > 200 {
			return // slow is no fault
		}
		one, errOne := m.Record(nil, own, pack.Records)
		two, errTwo := m.Record(nil, own, pack.Records)
		if one != two || (errOne == nil) != (errTwo == nil) {
			t.Fatalf("%q: %v, %v and then %v, %v", text, one, errOne, two, errTwo)
		}
	})
}
