package disk

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// These make the test program another process: one that appends numbers to a file for ever, or one that has a disk and an
// image below a directory, and is killed.
const (
	childVariable = "LOGMULE_DISK_CHILD"
	ownerVariable = "LOGMULE_DISK_OWNER"
	stuckVariable = "LOGMULE_DISK_STUCK" // the same, and one of its threads waits for the disk
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		fmt.Println(count(name))
		os.Exit(1)
	}
	if dir := os.Getenv(ownerVariable); dir != "" {
		fmt.Println(own(dir))
		os.Exit(1)
	}
	if dir := os.Getenv(stuckVariable); dir != "" {
		fmt.Println(stick(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// own has a disk and an image until it is killed.
func own(dir string) error {
	d, err := Start(Options{Mount: filepath.Join(dir, "disk"), Backing: filepath.Join(dir, "backing")})
	if err != nil {
		return err
	}
	if _, err := MakeImage(d, "image", "ext4", filepath.Join(dir, "image")); err != nil {
		return err
	}
	fmt.Println(0) // as count does when it is under way
	select {}
}

// init keeps the main goroutine of a process that is to get stuck on its first thread: whether that one is gone is what is
// seen of a killed process first.
func init() {
	if os.Getenv(stuckVariable) != "" {
		runtime.LockOSThread()
	}
}

// stick has a disk and, until it is killed, waits with its first thread for a lock of the kernel's that another process
// holds, whose request the disk does not answer.
func stick(dir string) error {
	d, err := Start(Options{Mount: filepath.Join(dir, "disk"), Backing: filepath.Join(dir, "backing")})
	if err != nil {
		return err
	}
	file, err := os.Create(d.in("file"))
	if err != nil {
		return err
	}
	stall, err := d.Fail(Rule{Match: Match{Op: Sync}, Delay: time.Hour})
	if err != nil {
		return err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), stuckVariable+"=", childVariable+"="+d.in("file"))
	if err := cmd.Start(); err != nil {
		return err
	}
	for hits := 0; hits == 0 && err == nil; {
		hits, err = d.Hits(stall)
	}
	if err != nil {
		return err
	}
	go func() {
		for waits := false; !waits; time.Sleep(time.Millisecond) {
			stat, _ := os.ReadFile("/proc/self/stat")
			waits = bytes.Contains(stat, []byte(") D "))
		}
		fmt.Println(0)
	}()
	return file.Sync()
}

// count appends one number after the other to a file, each in a sector of its own, and says it once it is synced.
func count(name string) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if _, err := fmt.Fprintf(file, "%511d\n", n); err != nil {
			return err
		}
		if err := file.Sync(); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// counter is a process that counts.
type counter struct {
	cmd  *exec.Cmd
	said chan int // how many numbers it has said, when its output has ended
	one  chan struct{}
}

// startCounter starts one and waits for the first number.
func startCounter(t *testing.T, name string) *counter {
	t.Helper()
	return startChild(t, childVariable, name)
}

// startChild starts the test program as another process.
func startChild(t *testing.T, variable, value string) *counter {
	t.Helper()
	c := &counter{cmd: exec.Command(os.Args[0]), said: make(chan int, 1), one: make(chan struct{})}
	server, err := program() // built once
	must(t, err)
	c.cmd.Env = append(os.Environ(), variable+"="+value, ServerVariable+"="+server)
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	must(t, c.cmd.Start())
	go func() {
		said := 0
		for lines := bufio.NewScanner(out); lines.Scan(); said++ {
			if _, err := strconv.Atoi(lines.Text()); err != nil {
				break
			}
			if said == 0 {
				close(c.one)
			}
		}
		c.said <- said
	}()
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	select {
	case <-c.one:
	case <-time.After(patience):
		t.Fatal("nothing was counted")
	}
	return c
}

// kill ends it and says how many numbers it had said.
func (c *counter) kill(t *testing.T) int {
	t.Helper()
	must(t, c.cmd.Process.Kill())
	said := <-c.said
	_ = c.cmd.Wait() // it was killed
	return said
}

// need ends a test that cannot be done here: it is skipped unless somebody insists.
func need(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("LOGMULE_TORTURE") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// start starts a fault disk for a test.
func start(t *testing.T, o Options) *Disk {
	t.Helper()
	need(t, Available())
	dir := t.TempDir()
	o.Mount, o.Backing, o.Output = filepath.Join(dir, "mount"), filepath.Join(dir, "backing"), filepath.Join(dir, "output")
	d, err := Start(o)
	must(t, err)
	t.Cleanup(func() {
		must(t, d.Close())
		list, err := mounts()
		must(t, err)
		if slices.ContainsFunc(list, func(m mounted) bool { return m.point == o.Mount }) {
			t.Errorf("%s is still mounted", o.Mount)
		}
		if out, _ := os.ReadFile(o.Output); len(out) > 0 {
			t.Errorf("the server says:\n%s", out)
		}
	})
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// in is a path on the disk.
func (d *Disk) in(name string) string { return filepath.Join(d.Path(), name) }

// write writes a file from its beginning on, without syncing.
func write(t *testing.T, d *Disk, name, text string) {
	t.Helper()
	file, err := os.OpenFile(d.in(name), os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	_, err = file.WriteString(text)
	must(t, err)
	must(t, file.Close())
}

// fsync syncs a file or a directory.
func fsync(t *testing.T, d *Disk, name string) {
	t.Helper()
	must(t, trySync(d, name))
}

func trySync(d *Disk, name string) error {
	file, err := os.Open(d.in(name))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return file.Sync()
}

// tree is all that is on a disk: text by path, "/" for a directory.
func tree(t *testing.T, d *Disk) map[string]string {
	t.Helper()
	found := make(map[string]string)
	must(t, filepath.WalkDir(d.Path(), func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == d.Path() {
			return err
		}
		short := strings.TrimPrefix(name, d.Path()+"/")
		if e.IsDir() {
			found[short] = "/"
			return nil
		}
		b, err := os.ReadFile(name)
		found[short] = string(b)
		return err
	}))
	return found
}

// wants compares what is on the disk.
func wants(t *testing.T, d *Disk, want map[string]string) {
	t.Helper()
	if got := tree(t, d); !maps.Equal(got, want) {
		t.Errorf("on the disk:\n%.400q\nwanted:\n%.400q", got, want)
	}
}

// TestSpeed shows that a test on this disk is not slowed down by it so much that its load is none.
func TestSpeed(t *testing.T) {
	d := start(t, Options{})
	file, err := os.OpenFile(d.in("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	defer func() { must(t, file.Close()) }()
	line := []byte(strings.Repeat("x", 99) + "\n")
	const syncs = 2000
	began := time.Now()
	for range syncs {
		_, err := file.Write(line)
		must(t, err)
		must(t, file.Sync())
	}
	took := time.Since(began)
	block := bytes.Repeat(line, 1<<20/len(line))
	const blocks = 100
	began = time.Now()
	for range blocks {
		_, err := file.Write(block)
		must(t, err)
	}
	must(t, file.Sync())
	t.Logf("%.0f appends with fsync a second, %.0f MiB/s", syncs/took.Seconds(), blocks/time.Since(began).Seconds())
}
