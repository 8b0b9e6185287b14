package integration

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// allowed is the table of layers: each package of the product, and those of the product that it may import itself.
// Arrows only go down. The disk leg comes first, then the message leg, then where they meet.
var allowed = map[string][]string{
	"queue/vfs":         {},
	"queue/vfs/faultfs": {"queue/vfs"},
	"queue/segment":     {"queue/vfs"},
	"checkpoint":        {"queue/vfs", "queue/segment"},
	"recovery":          {"queue/vfs", "queue/segment", "checkpoint"},
	"queue":             {"queue/vfs", "queue/segment", "checkpoint", "recovery"},

	"recovery/hekaqueue": {"queue/vfs"},

	"forward/pack":              {},
	"forward/config":            {"forward/pack"},
	"forward/transport":         {"forward/config"},
	"forward/codec":             {"forward/pack", "forward/config"},
	"forward/match":             {"forward/pack", "forward/config"},
	"forward/input/tail":        {"forward/pack", "forward/config"},
	"forward/input":             {"forward/pack", "forward/config", "forward/transport", "forward/codec", "forward/input/tail"},
	"forward/output":            {"forward/pack", "forward/config", "forward/transport", "forward/codec"},
	"forward/output/outputtest": {"forward/pack", "forward/config", "forward/output"},

	"forward/admin": {},
	"forward": {"queue", "queue/segment", "queue/vfs", "checkpoint", "recovery", "recovery/hekaqueue",
		"forward/pack", "forward/config", "forward/input", "forward/input/tail", "forward/output", "forward/match", "forward/transport", "forward/admin"},
	"cmd/logmule": {"forward", "recovery", "recovery/hekaqueue", "queue", "queue/segment", "queue/vfs", "forward/config", "forward/pack"},
}

// onlyThese are imports that say what a package knows: the bytes of the format, the checkpoint file, and so on.
var onlyThese = map[string][]string{
	"github.com/golang/snappy":     {"queue/segment", "forward/transport"},
	"github.com/klauspost/":        {"forward/transport"},
	"go.etcd.io/bbolt":             {"checkpoint"},
	"github.com/BurntSushi/toml":   {"forward/config"},
	"github.com/cenkalti/backoff/": {"forward"},
	"github.com/spf13/cobra":       {"cmd/logmule"},
	"github.com/coreos/":           {"cmd/logmule"},
	"github.com/expr-lang/expr":    {"forward/match"},
	"github.com/fsnotify/":         {"forward/input/tail"},
	"github.com/bmatcuk/":          {"forward/input/tail"},
	"golang.org/x/time":            {"forward"},
	"google.golang.org/protobuf/":  {"forward/pack", "forward/input", "forward/output"},
	"golang.org/x/net/":            {"forward/output"},
	"github.com/prometheus/":       {"forward/admin", "forward"},
	"encoding/binary":              {"queue/segment", "checkpoint", "recovery", "queue", "forward", "forward/pack", "forward/input", "forward/input/tail", "forward/output"},
	"hash/crc32":                   {"queue/segment", "checkpoint", "recovery", "forward/input/tail"},
	"os/signal":                    {"cmd/logmule"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// product lists the packages of the product without those of its tests.
func product(t *testing.T) map[string]listed {
	t.Helper()
	list := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps", "logmule/...")
	var stderr strings.Builder
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("list packages: %v\n%s", err, &stderr)
	}
	packages := map[string]listed{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(p.ImportPath, "logmule/"); ok && !strings.HasPrefix(name, "integration") {
			packages[name] = p
		}
	}
}

func TestImportsPointOneWay(t *testing.T) {
	packages := product(t)
	for name, p := range packages {
		may, known := allowed[name]
		if !known {
			t.Errorf("%s is not in the table of layers", name)
		}
		for _, i := range p.Imports {
			if own, ok := strings.CutPrefix(i, "logmule/"); ok && !slices.Contains(may, own) {
				t.Errorf("%s imports %s, which the layers do not allow", name, own)
			}
		}
	}
	for name := range allowed {
		if _, ok := packages[name]; !ok && name != "forward/output/outputtest" {
			t.Errorf("the table of layers has %s, which does not exist", name)
		}
	}
}

func TestLegsNeverTouch(t *testing.T) {
	disk := []string{"queue/vfs", "queue/vfs/faultfs", "queue/segment", "checkpoint", "recovery", "recovery/hekaqueue", "queue"}
	for name, p := range product(t) {
		onDisk, inMessages := slices.Contains(disk, name), strings.HasPrefix(name, "forward/")
		for _, dep := range p.Deps {
			own, ok := strings.CutPrefix(dep, "logmule/")
			if ok && (onDisk && strings.HasPrefix(own, "forward") || inMessages && slices.Contains(disk, own)) {
				t.Errorf("%s reaches %s: the legs meet only in forward", name, own)
			}
		}
	}
}

func TestOnlyThoseWhoMustKnow(t *testing.T) {
	for name, p := range product(t) {
		for _, i := range p.Imports {
			for what, who := range onlyThese {
				exact := !strings.HasSuffix(what, "/") && i == what
				if (exact || strings.HasSuffix(what, "/") && strings.HasPrefix(i, what)) && !slices.Contains(who, name) {
					t.Errorf("%s imports %s, which only %v may", name, i, who)
				}
			}
		}
	}
}

// layout are the names by which package segment speaks of bytes inside a file, and the only others who may use them:
// recovery takes damaged files apart, the queue finds the first frame. Where a byte of a frame stands is none of their business.
var layout = map[string][]string{
	"HeaderSize":        {"queue", "recovery"},
	"FrameHeaderSize":   {"queue"},
	"TrailerSize":       {"recovery"},
	"Groups":            {"recovery"},
	"DecodeFrameHeader": {"queue"},
	"DecodeHeader":      {"recovery"},
	"DecodeTrailer":     {},
	"DecodeMeta":        {"recovery"},
	"AppendMeta":        {},
}

func TestOnlySegmentKnowsFrameBytes(t *testing.T) {
	for name := range product(t) {
		files, err := filepath.Glob(filepath.Join("..", name, "*.go"))
		must(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			must(t, err)
			ast.Inspect(tree, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				who, ours := layout[s.Sel.Name]
				if of, ok := s.X.(*ast.Ident); ours && ok && of.Name == "segment" && !slices.Contains(who, name) {
					t.Errorf("%s uses segment.%s", file, s.Sel.Name)
				}
				return true
			})
		}
	}
}
