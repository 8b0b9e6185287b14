package damage

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/torture.md anew")

const (
	pageFile = "docs/torture.md"
	rowCount = 74 // of the list
)

const pageHead = `# What can happen to a data directory, and what comes of it

A list of everything that disks, crashes and people do to a queue, with what logmule makes of it and the test that shows it. The
tests are the source: this page is made from them and held against them by ` + "`go test ./integration/damage -run TestPage`" + `, with
` + "`-update`" + ` it is written anew. A row of TestTable is run by ` + "`-run 'TestTable/NN'`" + `, and it is done three times: a start and its
readers have to cope, a start and the scrubber, and ` + "`logmule fsck --repair`" + `. Each time a judge that knows every record holds what
comes against what was written: nothing else is lost, nothing is altered or doubled, fsck and the readers agree, every lost record is
in the ledger once, every changed byte is in quarantine, and after that fsck is clean. *Status* is the exit status of
` + "`logmule fsck`" + ` before anything was done.

Beyond the list, TestEveryByte flips a bit in every byte of a queue, one run each, and TestDestruction does up to eight harms at once
to a larger one, ten thousand times; what they came to is in [reliability.md](reliability.md).

| # | what happened | what comes of it | status | shown by |
|--:|---|---|--:|---|
`

// elsewhere is a row that is shown by other tests, or that the design leaves no room for: then by none.
type elsewhere struct {
	number  int
	what    string
	outcome string
	tests   []string // directory and name
}

// TestPage holds the page against the rows, the rows against the list, and the tests that it names against those there are.
func TestPage(t *testing.T) {
	root := filepath.Join("..", "..")
	var lines []string
	seen := map[int]bool{}
	for _, r := range rows {
		seen[r.number] = true
		outcome := r.outcome
		if r.open != "" {
			outcome += ". Not yet: " + r.open
		}
		lines = append(lines, fmt.Sprintf("| %02d | %s | %s | %d | damage TestTable |", r.number, r.what, outcome, r.status))
	}
	for _, e := range elsewhereRows {
		seen[e.number] = true
		var tests []string
		for _, test := range e.tests {
			if !exists(t, root, test) {
				t.Errorf("row %d, %s: there is no %s", e.number, e.what, test)
			}
			tests = append(tests, strings.TrimPrefix(strings.Replace(test, ".Test", " Test", 1), "integration/"))
		}
		lines = append(lines, fmt.Sprintf("| %02d | %s | %s | | %s |", e.number, e.what, e.outcome, strings.Join(tests, ", ")))
	}
	for n := 1; n <= rowCount; n++ {
		if !seen[n] {
			t.Errorf("row %d of the list is nowhere", n)
		}
	}
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[:5], b[:5]) })
	page := pageHead + strings.Join(lines, "\n") + "\n"
	path := filepath.Join(root, pageFile)
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(was) != page {
		t.Errorf("%s is not what the rows say; write it anew with go test ./integration/damage -run TestPage -update", pageFile)
	}
}

// exists tells whether a directory has a test of this name.
func exists(t *testing.T, root, test string) bool {
	t.Helper()
	dir, name, _ := strings.Cut(test, ".")
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == name {
				return true
			}
		}
	}
	return false
}
