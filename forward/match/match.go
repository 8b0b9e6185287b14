// Package match decides which records an output takes: expressions of expr-lang over the attributes and the payload.
//
// What an expression says depends on the record alone, so that a record is decided the same way when it is read again
// after a crash: there is no clock in it, and no state.
package match

import (
	"fmt"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"logmule/forward/pack"
)

const (
	// mostNodes bounds the size of an expression, and mostElements what lists it may build while it is evaluated.
	mostNodes    = 2000
	mostElements = 100_000

	// knownMost and knownKey bound what is remembered of decisions: their number, and the bytes of what each was about.
	knownMost = 1024
	knownKey  = 1024
)

// names are the variables of expressions, with a value of their type and the part of a record that they are.
var names = map[string]struct {
	zero any
	part pack.Parts
}{
	"type":      {"", pack.OfType},
	"logger":    {"", pack.OfLogger},
	"severity":  {0, pack.OfSeverity},
	"payload":   {"", pack.OfPayload},
	"hostname":  {"", pack.OfHostname},
	"pid":       {0, pack.OfPid},
	"timestamp": {time.Time{}, pack.OfTimestamp},
	"fields":    {map[string]any{}, pack.OfFields},
}

// Match is an expression, ready to decide. One goroutine uses it at a time.
type Match struct {
	text    string
	program *vm.Program
	uses    pack.Parts

	machine vm.VM
	env     map[string]any
	fields  map[string]any
	record  pack.Record

	known map[string]verdict // what was decided, by the parts of the record that decide it
	key   []byte
}

// verdict is a decision.
type verdict struct {
	takes bool
	err   error
}

// Compile reads an expression, which has to be true or false for a record. It may use the names type, logger, severity,
// payload, hostname, pid, timestamp and fields["name"]. A field that the record does not have is nil; nil is not larger,
// not smaller and contains nothing. The error begins with "match" and says what to change.
func Compile(text string) (*Match, error) {
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf(`match is empty; write an expression such as %s, or remove it to take all records`, example)
	}
	env := make(map[string]any, len(names))
	for name, n := range names {
		env[name] = n.zero
	}
	strict := []expr.Option{expr.Env(env), expr.MaxNodes(mostNodes), expr.DisableBuiltin("now")}
	if _, err := expr.Compile(text, strict...); err != nil { // by itself: the compiler does not look into what is patched
		return nil, explain(err)
	}
	program, err := expr.Compile(text, append(strict,
		expr.Function(fnLess, less, comparison), expr.Function(fnMore, more, comparison),
		expr.Function(fnNotMore, notMore, comparison), expr.Function(fnNotLess, notLess, comparison),
		expr.Function(fnNot, not, negation), expr.Function(fnPart, part, parting), expr.Patch(lenient{}))...)
	if err != nil {
		return nil, explain(err)
	}
	if err := checkResult(program.Node().Nature().Type); err != nil {
		return nil, err
	}
	m := &Match{
		text: text, program: program, uses: usedBy(program.Node()), machine: vm.VM{MemoryBudget: mostElements},
		env: env, fields: make(map[string]any), known: make(map[string]verdict),
	}
	return m, nil
}

// String returns the expression.
func (m *Match) String() string { return m.text }

// NeedsPayload says that records with the same attributes may be decided differently.
func (m *Match) NeedsPayload() bool { return m.uses&pack.OfPayload != 0 }

// Attributes decides all records that have these encoded attributes and nothing of their own but a payload. It is for
// expressions that do not need the payload. An error means that the expression fails for such records: it does not take
// them.
func (m *Match) Attributes(shared []byte) (takes bool, err error) {
	return m.remember(shared, nil)
}

// Record decides one record: encoded shared attributes, and the record's own bytes as pack.Each gives them. An error means
// that the expression fails for it, or that it cannot be decoded: it is not taken.
func (m *Match) Record(shared, own []byte, form pack.Form) (takes bool, err error) {
	if m.NeedsPayload() {
		if err := m.record.Decode(shared, own, form); err != nil {
			return false, err
		}
		m.bind()
		return m.evaluate()
	}
	if form != pack.Records {
		own = nil
	}
	return m.remember(shared, own)
}

// Share prepares for calls of Payload.
func (m *Match) Share(shared []byte) error {
	err := m.record.Decode(shared, nil, pack.Lines)
	m.bind()
	return err
}

// Payload decides a record that has nothing of its own but a payload, beside what Share was given.
func (m *Match) Payload(payload []byte) (takes bool, err error) {
	m.env["payload"] = textOf(payload)
	return m.evaluate()
}

// remember decides by attributes alone, from memory where records that agreed in what the expression uses were decided
// before.
func (m *Match) remember(shared, own []byte) (bool, error) {
	key, ok := pack.Select(m.key[:0], shared, m.uses)
	if ok {
		key, ok = pack.Select(key, own, m.uses)
	}
	m.key = key
	if v, there := m.known[string(key)]; ok && there {
		return v.takes, v.err
	}
	var v verdict
	if v.err = m.record.Decode(shared, own, pack.Records); v.err != nil {
		return false, v.err
	}
	m.bind()
	v.takes, v.err = m.evaluate()
	if m.uses&pack.OfTimestamp != 0 || len(key) > knownKey {
		return v.takes, v.err // it will hardly come again
	}
	if len(m.known) >= knownMost {
		clear(m.known)
	}
	m.known[string(key)] = v
	return v.takes, v.err
}

// bind gives the variables that the expression uses their values.
func (m *Match) bind() {
	r := &m.record
	m.set("type", pack.OfType, r.Type)
	m.set("logger", pack.OfLogger, r.Logger)
	m.set("hostname", pack.OfHostname, r.Hostname)
	if m.uses&pack.OfSeverity != 0 {
		m.env["severity"] = int(r.Severity)
	}
	if m.uses&pack.OfPayload != 0 {
		m.env["payload"] = textOf(r.Payload)
	}
	if m.uses&pack.OfPid != 0 {
		m.env["pid"] = int(r.Pid)
	}
	if m.uses&pack.OfTimestamp != 0 {
		m.env["timestamp"] = time.Unix(0, r.Timestamp).UTC()
	}
	if m.uses&pack.OfFields != 0 {
		m.env["fields"] = m.bindFields()
	}
}

func (m *Match) set(name string, part pack.Parts, value string) {
	if m.uses&part != 0 && m.env[name] != value {
		m.env[name] = value
	}
}

// bindFields makes the variable fields. Of a name that occurs twice the first one counts, as in Heka.
func (m *Match) bindFields() map[string]any {
	clear(m.fields)
	for i := range m.record.Fields {
		f := &m.record.Fields[i]
		if _, twice := m.fields[f.Name]; !twice {
			m.fields[f.Name] = valueOf(f.Value)
		}
	}
	return m.fields
}

// valueOf makes text of bytes, and leaves all other values of a field as they are.
func valueOf(value any) any {
	switch v := value.(type) {
	case []byte:
		return string(v)
	case [][]byte:
		all := make([]string, len(v))
		for i := range v {
			all[i] = string(v[i])
		}
		return all
	default:
		return value
	}
}

// evaluate runs the expression. nil, which a field that is not there gives, counts as false.
func (m *Match) evaluate() (bool, error) {
	value, err := m.machine.Run(m.program, m.env)
	if err != nil {
		return false, problem(err)
	}
	switch v := value.(type) {
	case bool:
		return v, nil
	case nil:
		return false, nil
	default:
		return false, fmt.Errorf("the result is a %T instead of true or false", value)
	}
}
