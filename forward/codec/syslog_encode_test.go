package codec

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"logmule/forward/pack"
)

func field(name string, value any) pack.Field { return pack.Field{Name: name, Value: value} }

// full is a record with everything that a header can say.
func full() pack.Record {
	return pack.Record{Payload: []byte("text"), Attributes: pack.Attributes{
		Timestamp: time.Date(2026, 11, 5, 8, 11, 59, 123456789, time.UTC).UnixNano(), Type: "in", Logger: "app", Severity: 3,
		Hostname: "host", Pid: 42, Fields: []pack.Field{field("facility", int64(16)), field("msgid", "ID")},
	}}
}

func TestEncodeSyslog(t *testing.T) {
	inZone(t, 2)
	long := strings.Repeat("x", 300)
	const head = "<131>1 2026-11-05T08:11:59.123456Z host app 42 ID "
	for _, c := range []struct {
		name           string
		change         func(r *pack.Record)
		want, want3164 string
	}{
		{"everything", func(*pack.Record) {}, head + "- text", "<131>Nov  5 10:11:59 host app[42]: text"},
		{"nothing", func(r *pack.Record) { *r = pack.Record{} }, "<8>1 - - - - - -", "<8>Jan  1 02:00:00 - -: "},
		{"no text", func(r *pack.Record) { r.Payload = nil }, head + "-", "<131>Nov  5 10:11:59 host app[42]: "},
		{"odd text", func(r *pack.Record) { r.Payload = []byte("\xff\n\x00 ") }, head + "- \xff\n\x00 ", "<131>Nov  5 10:11:59 host app[42]: \xff\n\x00 "},
		{"text that begins with a BOM", func(r *pack.Record) { r.Payload = []byte("\ufeffx") }, head + "- \ufeff\ufeffx", ""},
		{"severity out of range", func(r *pack.Record) { r.Severity = 99 }, "<135>" + head[5:] + "- text", ""},
		{"severity below", func(r *pack.Record) { r.Severity = -1 }, "<128>" + head[5:] + "- text", ""},
		{"facility out of range", func(r *pack.Record) { r.Fields[0].Value = int64(24) },
			"<11>" + head[5:] + `[logmule@32473 facility="24"] text`, "<11>Nov  5 10:11:59 host app[42]: text"},
		{"no facility", func(r *pack.Record) { r.Fields = nil }, "<11>1 2026-11-05T08:11:59.123456Z host app 42 - - text", ""},
		{"file", func(r *pack.Record) { r.Logger = "/var/log/nginx/a b.log" },
			"<131>1 2026-11-05T08:11:59.123456Z host a_b.log 42 ID - text", "<131>Nov  5 10:11:59 host a_b.log[42]: text"},
		{"path of a tag", func(r *pack.Record) { r.Logger = "postfix/smtpd" }, "<131>1 2026-11-05T08:11:59.123456Z host postfix/smtpd 42 ID - text", ""},
		{"peer", func(r *pack.Record) { r.Logger = "10.0.0.1:5140" }, "<131>1 2026-11-05T08:11:59.123456Z host in 42 ID - text", ""},
		{"IPv6 peer", func(r *pack.Record) { r.Logger = "[fe80::1%eth0]:5140" }, "<131>1 2026-11-05T08:11:59.123456Z host in 42 ID - text", ""},
		{"address", func(r *pack.Record) { r.Logger = "10.0.0.1" }, "<131>1 2026-11-05T08:11:59.123456Z host in 42 ID - text", ""},
		{"name with a number", func(r *pack.Record) { r.Logger = "python3.12" }, "<131>1 2026-11-05T08:11:59.123456Z host python3.12 42 ID - text", ""},
		{"file without a name", func(r *pack.Record) { r.Logger = "/var/-" }, "<131>1 2026-11-05T08:11:59.123456Z host in 42 ID - text", "<131>Nov  5 10:11:59 host in[42]: text"},
		{"file named as a machine", func(r *pack.Record) { r.Logger = "/var/10.0.0.1" }, "<131>1 2026-11-05T08:11:59.123456Z host in 42 ID - text", ""},
		{"directory", func(r *pack.Record) { r.Logger = "/var/log/" }, "<131>1 2026-11-05T08:11:59.123456Z host log 42 ID - text", ""},
		{"neither logger nor type", func(r *pack.Record) { r.Logger, r.Type = "-", "/" }, "<131>1 2026-11-05T08:11:59.123456Z host - 42 ID - text", ""},
		{"fields that a reader would take for something else", func(r *pack.Record) {
			r.Pid = 0
			r.Fields = []pack.Field{field("procid", "42"), field("msgid", "-")}
		}, `<11>1 2026-11-05T08:11:59.123456Z host app - - [logmule@32473 procid="42" msgid="-"] text`, "<11>Nov  5 10:11:59 host app[42]: text"},
		{"tag with marks", func(r *pack.Record) { r.Logger = "a[b]:c" }, "<131>1 2026-11-05T08:11:59.123456Z host a[b]:c 42 ID - text", "<131>Nov  5 10:11:59 host a_b__c[42]: text"},
		{"process of a name", func(r *pack.Record) { r.Pid = 0; r.Fields = append(r.Fields, field("procid", "0x[7]")) },
			"<131>1 2026-11-05T08:11:59.123456Z host app 0x[7] ID - text", "<131>Nov  5 10:11:59 host app[0x_7_]: text"},
		{"too long", func(r *pack.Record) {
			r.Hostname, r.Logger, r.Pid = long, long, 0
			r.Fields = []pack.Field{field("procid", long), field("msgid", long), field("a@1."+long, long)}
		}, "<11>1 2026-11-05T08:11:59.123456Z " + long[:255] + " " + long[:48] + " " + long[:128] + " " + long[:32] + " [a@1 " + long[:32] + `="` + long + `"] text`, ""},
		{"structured data", func(r *pack.Record) {
			r.Fields = append(r.Fields, field("x@1.a", "1"), field("user", `"joe"\]`), field("y@32473.1.2.b", "2"), field("x@1.a", "3"), field("meta.sequenceId", int64(7)))
		}, head + `[x@1 a="1" a="3"][logmule@32473 user="\"joe\"\\\]"][y@32473.1.2 b="2"][meta sequenceId="7"] text`, ""},
		{"values", func(r *pack.Record) {
			r.Fields = append(r.Fields, field("s", []string{"a", "b"}), field("b", []byte("x")), field("bb", [][]byte{[]byte("y")}), field("i", []int64{-1, 2}),
				field("f", 1.5), field("ff", []float64{2}), field("t", true), field("tt", []bool{false}), field("none", []string{}))
		}, head + `[logmule@32473 s="a" s="b" b="x" bb="y" i="-1" i="2" f="1.5" ff="2" t="true" tt="false"] text`, ""},
		{"names that are none", func(r *pack.Record) {
			r.Fields = append(r.Fields, field("", "1"), field("a b", "2"), field("c d.e", "3"), field(".f", "4"), field("ü", "5"), field("x.", ""))
		}, head + `[logmule@32473 _="1" a_b="2" c_d.e="3" .f="4" __="5"][x] text`, ""},
	} {
		r := full()
		c.change(&r)
		before := fmt.Sprintf("%+v", r)
		got, err := syslogEncoder{}.AppendEncode([]byte("kept"), &r)
		if err != nil || string(got) != "kept"+c.want {
			t.Errorf("%s:\n got %q, %v\nwant %q", c.name, got, err, c.want)
		}
		if got, err := (oldSyslogEncoder{}).AppendEncode(nil, &r); err != nil || c.want3164 != "" && string(got) != c.want3164 {
			t.Errorf("%s, RFC 3164:\n got %q, %v\nwant %q", c.name, got, err, c.want3164)
		}
		if after := fmt.Sprintf("%+v", r); after != before {
			t.Errorf("%s: encoding changed the record from %s to %s", c.name, before, after)
		}
	}
}

// TestEncodeManyFields crosses the number of fields from which on they are sorted.
func TestEncodeManyFields(t *testing.T) {
	for _, n := range []int{fewFields - 2, fewFields - 1, 1000} {
		r := full()
		want := map[string]bool{}
		for i := range n {
			r.Fields = append(r.Fields, field(fmt.Sprintf("e%d@1.p%d", i%7, i), "v"))
			want[fmt.Sprintf("e%d@1.p%d", i%7, i)] = true
		}
		line, err := syslogEncoder{}.AppendEncode(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(line), "["); got != 7 {
			t.Errorf("%d fields: %d elements, want 7", n, got)
		}
		back := plainLine(string(line))
		if err := (syslogDecoder{}).Decode(&back); err != nil {
			t.Fatal(err)
		}
		for _, f := range back.Fields {
			delete(want, f.Name)
		}
		if len(want) > 0 || len(back.Fields) != n+2 {
			t.Errorf("%d fields: %d came back, %d are missing", n, len(back.Fields), len(want))
		}
	}
}

// FuzzSyslog decodes anything. What was decoded, once written, is read as the same record for ever.
func FuzzSyslog(f *testing.F) {
	for _, text := range []string{
		"<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "<13>2026-11-20T08:11:59.123456+00:00 host root[9]: a",
		"<189>237: 000485: *Jan  8 19:46:03.295 UTC: %SYS-5-CONFIG_I: a", "<166>Nov 20 2025 08:11:59 fw1 : %ASA-6-302013: Built",
		`<165>1 2003-10-11T22:14:15.003Z h a 12 ID47 [a@1 b="\"\]\\"  c="x"][origin ip="1" ip="2"] ` + "\ufeff\ufefftext\n",
		"<13>1 - - - - - -", "<13>1 - h a - - [x@1] y", `<13>1 - h a - - [logmule@32473 facility="1" x="y"] y`, "<0>", "<13>Feb 29 00:00:00 a b[", "",
		"<0>1 - 0 /- 0 0 ", "<0>1 - 0 /10.0.0.1 0 0 ", "<0>1 - 0 /abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz/ 0 0 ",
		"<0>1 - 0 fe80::1%abcdefghijklmnopqrstuvwxyzabcdefghijklm1a 0 0 ", `<0>1 - h a - - [logmule@32473 procid="12" msgid="-"]`,
		"<0>1 1970-01-01T00:00:00.0000005Z h a - - -",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first := plainLine(text)
		if err := (syslogDecoder{}).Decode(&first); err != nil {
			return
		}
		if !strings.HasSuffix(strings.TrimRight(text, "\n\x00"), strings.TrimRight(string(first.Payload), "\n\x00")) {
			t.Fatalf("%q: the payload is %q", text, first.Payload)
		}
		if n := len(first.Payload); n > 0 && (first.Payload[n-1] == '\n' || first.Payload[n-1] == 0) {
			return // the next reader takes it for a terminator
		}
		once := again(t, first)
		twice := again(t, once)
		if !reflect.DeepEqual(ordered(once), ordered(twice)) {
			t.Fatalf("%q\n once %+v\ntwice %+v", text, once, twice)
		}
		if string(once.Payload) != string(first.Payload) || once.Severity != first.Severity || once.Pid != first.Pid ||
			once.Timestamp != first.Timestamp/1000*1000 && first.Timestamp >= 1000 { // 0 is no time
			t.Fatalf("%q\nfirst %+v\n once %+v", text, first, once)
		}
	})
}

// again writes and reads a record.
func again(t *testing.T, r pack.Record) pack.Record {
	t.Helper()
	line, err := syslogEncoder{}.AppendEncode(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := parse5424(line[strings.IndexByte(string(line), '>')+1:]); !ok {
		t.Fatalf("%q is not RFC 5424", line)
	}
	back := plainLine(string(line))
	if err := (syslogDecoder{}).Decode(&back); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return back
}

// ordered is the record with its fields in one order: those of an element come together when it is written.
func ordered(r pack.Record) pack.Record {
	r.Fields = slices.Clone(r.Fields)
	slices.SortStableFunc(r.Fields, func(a, b pack.Field) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(fmt.Sprint(a.Value), fmt.Sprint(b.Value)))
	})
	return r
}

func TestEncodingAllocatesNothing(t *testing.T) {
	r := full()
	r.Fields = append(r.Fields, field("x@1.a", "1"), field("user", "joe"))
	dst := make([]byte, 0, 1024)
	for name, e := range map[string]Encoder{"syslog": syslogEncoder{}, "syslog-3164": oldSyslogEncoder{}} {
		if n := testing.AllocsPerRun(100, func() { dst, _ = e.AppendEncode(dst[:0], &r) }); n > 0 {
			t.Errorf("%s: %v allocations for a record", name, n)
		}
	}
}

func TestTables(t *testing.T) {
	if got := fmt.Sprint(names(decoders), names(encoders)); got != "[plain syslog] [plain syslog syslog-3164]" {
		t.Error(got)
	}
	if d, err := NewDecoder("plain"); d != nil || err != nil {
		t.Errorf("plain: %v, %v", d, err)
	}
	if e, err := NewEncoder("plain"); e != nil || err != nil {
		t.Errorf("plain: %v, %v", e, err)
	}
	if _, err := NewDecoder("sislog"); err == nil || err.Error() != `codec = "sislog" is not known; use one of plain, syslog` {
		t.Error(err)
	}
	if e, err := NewEncoder("syslog"); e == nil || err != nil {
		t.Errorf("syslog: %v, %v", e, err)
	}
}
