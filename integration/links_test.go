package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	aLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	aPage    = regexp.MustCompile(`\b(?:docs|examples|packaging)/[\w./-]*\.(?:md|toml|service)\b`)
	aHeading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// Every document that another one links to or names is there, with the heading that it is linked to.
func TestLinksLead(t *testing.T) {
	list := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md")
	list.Dir = ".."
	out, err := list.Output()
	must(t, err)
	for _, page := range strings.Fields(string(out)) {
		text, err := os.ReadFile(filepath.Join("..", page))
		if os.IsNotExist(err) {
			continue // deleted and not yet committed
		}
		must(t, err)
		for _, m := range aLink.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target, anchor, _ := strings.Cut(m[1], "#")
			file := filepath.Join("..", page)
			if target != "" {
				file = filepath.Join("..", filepath.Dir(page), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			} else if anchor != "" && !hasAnchor(t, file, anchor) {
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
		for _, name := range aPage.FindAllString(string(text), -1) {
			_, fromTop := os.Stat(filepath.Join("..", name))
			_, fromHere := os.Stat(filepath.Join("..", filepath.Dir(page), name))
			if fromTop != nil && fromHere != nil {
				t.Errorf("%s names %s, which is not there", page, name)
			}
		}
	}
}

func hasAnchor(t *testing.T, file, anchor string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	for _, m := range aHeading.FindAllStringSubmatch(string(text), -1) {
		heading := noAnchor.ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(heading, " ", "-") == anchor {
			return true
		}
	}
	return false
}
