package rig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// PeersVariable names the environment variable with the directory that .ci/peers has filled.
const PeersVariable = "LOGMULE_PEERS"

// ErrNoPeers says that the syslog daemons are not here.
var ErrNoPeers = errors.New("no syslog daemons to test with; run .ci/peers and set " + PeersVariable + " to the directory it prints")

// peers is the directory, and how programs in it find their libraries.
func peers() (dir string, env []string, err error) {
	dir = os.Getenv(PeersVariable)
	if dir == "" {
		return "", nil, ErrNoPeers
	}
	var libraries []string
	for _, lib := range []string{"usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib/syslog-ng"} {
		libraries = append(libraries, inside(dir, lib))
	}
	return dir, []string{"LD_LIBRARY_PATH=" + strings.Join(libraries, ":")}, nil
}

// inside is the first place in a directory that a pattern names: versions and machines differ.
func inside(dir, pattern string) string {
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) == 0 {
		return filepath.Join(dir, pattern)
	}
	return found[0]
}

// StartRsyslog starts rsyslog with a configuration in dir, which must exist, without touching the one of this machine.
func StartRsyslog(dir, configuration string) (*Process, error) {
	root, env, err := peers()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "rsyslog.conf")
	configuration = fmt.Sprintf("global(workDirectory=%q)\n", dir) + configuration
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		return nil, err
	}
	modules := inside(root, "usr/lib/*-linux-gnu/rsyslog")
	return Start(Command{Program: filepath.Join(root, "usr/sbin/rsyslogd"), Dir: dir, Env: env,
		Args: []string{"-n", "-f", file, "-i", filepath.Join(dir, "pid"), "-M", modules}})
}

// StartSyslogNG starts syslog-ng with a configuration in dir, which must exist, without touching the one of this machine.
func StartSyslogNG(dir, configuration string) (*Process, error) {
	root, env, err := peers()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "syslog-ng.conf")
	configuration = "@version: 3.35\noptions { keep-hostname(yes); chain-hostnames(no); use-dns(no); log-msg-size(262144); frac-digits(6); };\n" + configuration
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		return nil, err
	}
	return Start(Command{Program: filepath.Join(root, "usr/sbin/syslog-ng"), Dir: dir, Env: env,
		Args: []string{"--foreground", "--no-caps", "--stderr", "--cfgfile", file,
			"--module-path", inside(root, "usr/lib/syslog-ng/[0-9]*"), "--persist-file", filepath.Join(dir, "persist"),
			"--pidfile", filepath.Join(dir, "pid"), "--control", filepath.Join(dir, "control")}})
}
