package config

const quickStart = `data_dir = "logmule-data"

[queue]
keep_for = "1h"

[input.demo]
type = "generate"
rate = 10

[output.screen]
type = "stdout"
`

// QuickStart is the configuration of a first try: ten records a second are made up, stored in dir and printed.
// Delivered segments stay for an hour, to look at.
func QuickStart(dir string) *Config {
	c, _ := Parse("quick start", []byte(quickStart)) // the text is constant, and a test holds that it is valid
	c.DataDir = dir
	return c
}
