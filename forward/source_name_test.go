package forward

import "testing"

func TestSourceName(t *testing.T) {
	for key, want := range map[string]string{
		"in/web-3":             "input web-3",
		"in/nginx/2049-17":     "input nginx",
		"to/hq/0102":           "replay to output hq",
		"salvage/heka/relay/1": "Heka queue relay",
		"else":                 "else",
		"":                     "a source without a name",
	} {
		if got := SourceName(key); got != want {
			t.Errorf("%q is %q, want %q", key, got, want)
		}
	}
}
