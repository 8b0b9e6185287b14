package config

import (
	"slices"
	"strings"
	"testing"
)

func TestKeyLines(t *testing.T) {
	text := strings.Join([]string{
		/*  1 */ `# comment [not.a.section] a = 1`,
		/*  2 */ `top = "a # no comment = [x]" # b = 2`,
		/*  3 */ `dotted.key . deep = 1.5e3`,
		/*  4 */ ``,
		/*  5 */ `[queue]`,
		/*  6 */ `  sync='it''s not'`,
		/*  7 */ `block = """`,
		/*  8 */ `hidden = 1`,
		/*  9 */ `[hidden]`,
		/* 10 */ `\""" still inside`,
		/* 11 */ `"""`,
		/* 12 */ `lit = '''`,
		/* 13 */ `hidden = 1 \'''`,
		/* 14 */ `"quoted \"key\"" = 12:30:00`,
		/* 15 */ `list = [ # hidden = 1`,
		/* 16 */ `  { hidden = 1 }, [2, 3], # ]`,
		/* 17 */ `  "]",`,
		/* 18 */ `]`,
		/* 19 */ `after = 2020-01-01 10:00:00.5`,
		/* 20 */ `[ input . "a.b" ]`,
		/* 21 */ `inline = { one = 1, two = { three = [1, 2] , 'four.five' = "}" }, six.seven = true }`,
		/* 22 */ `bare-key_1 = ${N:-5}`,
		/* 23 */ `[[tables.x]]`,
		/* 24 */ `in = 1`,
	}, "\n")
	got := keyLines(text)
	want := map[string]int{
		"top": 2, "dotted": 3, "dotted|key": 3, "dotted|key|deep": 3, "queue": 5, "queue|sync": 6, "queue|block": 7, "queue|lit": 12,
		`queue|quoted "key"`: 14, "queue|list": 15, "queue|after": 19, "input": 20, "input|a.b": 20, "input|a.b|inline": 21,
		"input|a.b|inline|one": 21, "input|a.b|inline|two": 21, "input|a.b|inline|two|three": 21, "input|a.b|inline|two|four.five": 21,
		"input|a.b|inline|six": 21, "input|a.b|inline|six|seven": 21, "input|a.b|bare-key_1": 22, "tables": 23, "tables|x": 23, "tables|x|in": 24,
	}
	for path, line := range want {
		if at := got[strings.ReplaceAll(path, "|", "\x00")]; at != line {
			t.Errorf("%s: line %d, want %d", path, at, line)
		}
	}
	for path := range got {
		if _, ok := want[strings.ReplaceAll(path, "\x00", "|")]; !ok {
			t.Errorf("found %q, which is no key", strings.ReplaceAll(path, "\x00", "|"))
		}
	}
}

func TestLineFallsBackToTheSection(t *testing.T) {
	d := document{lines: keyLines("a = 1\n[b.c]\nd = 1\n")}
	for _, c := range []struct {
		path []string
		want int
	}{
		{[]string{"b", "c", "d"}, 3}, {[]string{"b", "c", "none"}, 2}, {[]string{"b", "none", "none"}, 2}, {[]string{"none"}, 1}, {nil, 1},
	} {
		if got := d.line(c.path); got != c.want {
			t.Errorf("%q: line %d, want %d", c.path, got, c.want)
		}
	}
}

func TestTokenKinds(t *testing.T) {
	for text, want := range map[string][]tokenKind{
		`a = "b"`:             {bare, punctuation, basic},
		`'a' # "b"`:           {literal, comment},
		`"a\"b" c`:            {basic, bare},
		`'a\' c`:              {literal, bare},
		"\"open\n'open\n":     {basic, lineEnd, literal, lineEnd},
		`""`:                  {basic},
		`""""a"""""`:          {basicBlock},
		`''''a'''''`:          {literalBlock},
		`"""open`:             {basicBlock},
		`${A:-b} $ {`:         {bare, bare, punctuation},
		"a\r\n":               {bare, lineEnd},
		`a."b".'c'`:           {bare, punctuation, basic, punctuation, literal},
		`"ends in escape \`:   {basic},
		"\"escape at end\\\n": {basic},
	} {
		var got []tokenKind
		for _, tok := range tokens(text, false) {
			got = append(got, tok.kind)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: kinds %v, want %v", text, got, want)
		}
	}
}

// FuzzTokens: the tokens of any text are that text, none is empty, and looking for keys in it ends.
func FuzzTokens(f *testing.F) {
	f.Add("a = \"b\" # c\n[d.'e']\nf = {g = '''h''', i = [1, \"\"\"j\"\"\"]}\r\n${K:-l}")
	f.Add("\"\\")
	f.Fuzz(func(t *testing.T, text string) {
		var joined strings.Builder
		line := 1
		for _, tok := range tokens(text, true) {
			if tok.text == "" || tok.line != line {
				t.Fatalf("token %+v on line %d", tok, line)
			}
			joined.WriteString(tok.text)
			line += strings.Count(tok.text, "\n")
		}
		if joined.String() != text {
			t.Fatalf("the tokens are %q", joined.String())
		}
		for path, at := range keyLines(text) {
			if at < 1 || at > line {
				t.Fatalf("%q stands on line %d of %d", path, at, line)
			}
		}
	})
}
