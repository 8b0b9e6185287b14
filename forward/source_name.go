package forward

import "strings"

// SourceName is what a person calls the source with this key: "input web-3", "replay to output hq", "Heka queue relay".
func SourceName(key string) string {
	if rest, ok := strings.CutPrefix(key, keyOfInput); ok {
		return "input " + string(firstOf([]byte(rest)))
	}
	if rest, ok := strings.CutPrefix(key, keyOfOutput); ok {
		return "replay to output " + string(firstOf([]byte(rest)))
	}
	if rest, ok := strings.CutPrefix(key, keyOfSalvage); ok {
		return "Heka queue " + string(firstOf([]byte(rest)))
	}
	if key == "" {
		return "a source without a name"
	}
	return key
}
