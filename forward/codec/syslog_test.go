package codec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"logmule/forward/pack"
)

// arrival is when the records of these tests arrive.
var arrival = time.Date(2026, 11, 20, 8, 30, 0, 0, time.UTC)

// plainLine is a record as an input makes it of a line.
func plainLine(text string) pack.Record {
	return pack.Record{Payload: []byte(text), Attributes: pack.Attributes{
		Timestamp: arrival.UnixNano(), Type: "in", Logger: "10.0.0.1:514", Severity: 7, Hostname: "here",
	}}
}

// show writes what decoding changed, in one line.
func show(r *pack.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", r.Severity, time.Unix(0, r.Timestamp).UTC().Format("2006-01-02T15:04:05.999999999"))
	fmt.Fprintf(&b, " host=%s logger=%s pid=%d", r.Hostname, r.Logger, r.Pid)
	for _, f := range r.Fields {
		fmt.Fprintf(&b, " %s=%v", f.Name, f.Value)
	}
	fmt.Fprintf(&b, " | %s", r.Payload)
	return b.String()
}

func inZone(t *testing.T, hours int) {
	t.Helper()
	old := time.Local
	time.Local = time.FixedZone("test", hours*3600)
	t.Cleanup(func() { time.Local = old })
}

func TestDecodeSyslog(t *testing.T) {
	inZone(t, 2)
	const now = "2026-11-20T08:30:00"
	for _, c := range []struct{ name, text, want string }{
		{"RFC 3164, first example", "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
			"2 2026-10-11T20:14:15 host=mymachine logger=su pid=0 facility=4 | 'su root' failed for lonvick on /dev/pts/8"},
		{"a pid", "<13>Nov  5 08:11:59 host root[123]: hello [x] y", "5 2026-11-05T06:11:59 host=host logger=root pid=123 facility=1 | hello [x] y"},
		{"a process that is no number", "<13>Nov  5 08:11:59 host root[0x7f]: a", "5 2026-11-05T06:11:59 host=host logger=root pid=0 facility=1 procid=0x7f | a"},
		{"day with a zero", "<13>Nov 05 08:11:59 host root: a", "5 2026-11-05T06:11:59 host=host logger=root pid=0 facility=1 | a"},
		{"rsyslog forward format", "<13>2026-11-20T08:11:59.123456+00:00 host root: a",
			"5 2026-11-20T08:11:59.123456 host=host logger=root pid=0 facility=1 | a"},
		{"log/syslog of Go", "<14>2026-11-20T08:11:59+01:00 host prog[77]: a\n", "6 2026-11-20T07:11:59 host=host logger=prog pid=77 facility=1 | a"},
		{"syslog(3) on /dev/log", "<86>Nov 20 08:11:59 sshd[9]: session opened", "6 2026-11-20T06:11:59 host=here logger=sshd pid=9 facility=10 | session opened"},
		{"syslog(3) on a stream", "<86>Nov 20 08:11:59 sshd[9]: a\x00", "6 2026-11-20T06:11:59 host=here logger=sshd pid=9 facility=10 | a"},
		{"tag with a path", "<22>Nov 20 08:11:59 h postfix/smtpd[12]: a\nb\r\nc", "6 2026-11-20T06:11:59 host=h logger=postfix/smtpd pid=12 facility=2 | a\nb\r\nc"},
		{"tag with brackets", "<22>Nov 20 08:11:59 h (sd-pam)[12]: a", "6 2026-11-20T06:11:59 host=h logger=(sd-pam) pid=12 facility=2 | a"},
		{"kernel", "<6>Nov 20 08:11:59 h kernel: [12.3] a", "6 2026-11-20T06:11:59 host=h logger=kernel pid=0 facility=0 | [12.3] a"},
		{"no tag", "<13>Nov 20 08:11:59 host no tag: here", "5 2026-11-20T06:11:59 host=host logger=10.0.0.1:514 pid=0 facility=1 | no tag: here"},
		{"no space after the colon", "<13>Nov 20 08:11:59 host http://x", "5 2026-11-20T06:11:59 host=host logger=10.0.0.1:514 pid=0 facility=1 | http://x"},
		{"neither host nor tag", "<13>Nov 20 08:11:59 [info] a", "5 2026-11-20T06:11:59 host=here logger=10.0.0.1:514 pid=0 facility=1 | [info] a"},
		{"IPv6", "<13>Nov 20 08:11:59 fe80::1 a: b", "5 2026-11-20T06:11:59 host=fe80::1 logger=a pid=0 facility=1 | b"},
		{"tag and nothing", "<13>Nov 20 08:11:59 host a:", "5 2026-11-20T06:11:59 host=host logger=a pid=0 facility=1 | "},
		{"spaces of the text", "<13>Nov 20 08:11:59 host a:  b ", "5 2026-11-20T06:11:59 host=host logger=a pid=0 facility=1 |  b "},
		{"last year", "<13>Dec 31 23:59:59 host a: b", "5 2026-12-31T21:59:59 host=host logger=a pid=0 facility=1 | b"},
		{"no time", "<13>a: b", "5 " + now + " host=here logger=a pid=0 facility=1 | b"},
		{"only text", "<13>just some text", "5 " + now + " host=here logger=10.0.0.1:514 pid=0 facility=1 | just some text"},
		{"nothing", "<13>", "5 " + now + " host=here logger=10.0.0.1:514 pid=0 facility=1 | "},
		{"no such day", "<13>Nov 31 08:11:59 host a: b", "5 " + now + " host=here logger=10.0.0.1:514 pid=0 facility=1 | Nov 31 08:11:59 host a: b"},
		{"Cisco IOS", "<189>237: *Jan  8 19:46:03.295: %SYS-5-CONFIG_I: Configured",
			"5 2027-01-08T17:46:03.295 host=here logger=%SYS-5-CONFIG_I pid=0 facility=23 sequence=237 clock=* | Configured"},
		{"Cisco IOS, numbered, with a zone", "<189>237: 000485: Nov  8 19:46:03.295 UTC: %SYS-5-CONFIG_I: a",
			"5 2026-11-08T19:46:03.295 host=here logger=%SYS-5-CONFIG_I pid=0 facility=23 sequence=237 sequence=000485 | a"},
		{"Cisco ASA", "<166>Nov 20 2025 08:11:59 fw1 : %ASA-6-302013: Built", "6 2025-11-20T06:11:59 host=fw1 logger=%ASA-6-302013 pid=0 facility=20 | Built"},
		{"Cisco ASA without a name", "<166>Nov 20 2025 08:11:59: %ASA-6-302013: Built", "6 2025-11-20T06:11:59 host=here logger=%ASA-6-302013 pid=0 facility=20 | Built"},
		{"counters and no time", "<189>237: 000485: a", "5 " + now + " host=here logger=10.0.0.1:514 pid=0 facility=23 | 237: 000485: a"},

		{"logger --rfc3164", "<131>Nov 20 08:39:16 vm mytag[6446]: hello two", "3 2026-11-20T06:39:16 host=vm logger=mytag pid=6446 facility=16 | hello two"},
		{"logger --rfc5424", `<13>1 2026-11-20T08:39:16.460873+00:00 vm x - - [timeQuality tzKnown="1" isSynced="0"]   spaces  `,
			"5 2026-11-20T08:39:16.460873 host=vm logger=x pid=0 facility=1 timeQuality.tzKnown=1 timeQuality.isSynced=0 |   spaces  "},
		{"logger --sd-id --sd-param --msgid", `<13>1 2026-11-20T08:39:16.457518+00:00 vm my/tag - ID9 [zoo@123 tiger="hungry" zebra="run\"ning"][man@9 a="b"] text`,
			`5 2026-11-20T08:39:16.457518 host=vm logger=my/tag pid=0 facility=1 msgid=ID9 zoo@123.tiger=hungry zoo@123.zebra=run"ning man@9.a=b | text`},
		{"logger --rfc5424 -t 'a b'", `<13>1 2026-11-20T08:39:16.467228+00:00 vm a b - - [timeQuality tzKnown="1" isSynced="0"] sp`,
			`5 2026-11-20T08:39:16.467228 host=vm logger=a pid=0 facility=1 procid=b | [timeQuality tzKnown="1" isSynced="0"] sp`},
		{"SysLogHandler of Python", "<12>prog: with ident\x00", "4 " + now + " host=here logger=prog pid=0 facility=1 | with ident"},
		{"RSYSLOG_SyslogProtocol23Format", "<13>1 2026-11-20T08:39:17.808770+00:00 vm cron 6542 - -  via /dev/log\n",
			"5 2026-11-20T08:39:17.80877 host=vm logger=cron pid=6542 facility=1 |  via /dev/log"},
		{"RSYSLOG_TraditionalForwardFormat", "<13>Nov 20 08:39:17 vm cron[6542]: via /dev/log", "5 2026-11-20T06:39:17 host=vm logger=cron pid=6542 facility=1 | via /dev/log"},
		{"RFC 5424, first example", "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed",
			"2 2003-10-11T22:14:15.003 host=mymachine.example.com logger=su pid=0 facility=4 msgid=ID47 | 'su root' failed"},
		{"RFC 5424, third example", `<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application"][examplePriority@32473 class="high"]`,
			"5 2003-10-11T22:14:15.003 host=h logger=evntslog pid=0 facility=20 msgid=ID47 exampleSDID@32473.iut=3" +
				" exampleSDID@32473.eventSource=Application examplePriority@32473.class=high | "},
		{"nothing known", "<165>1 - - - - - -", "5 " + now + " host=here logger=10.0.0.1:514 pid=0 facility=20 | "},
		{"logger(1)", `<13>1 2026-11-20T08:11:59.123456+02:00 host root 4711 ID [timeQuality tzKnown="1" isSynced="0"][x@1 a="b"] hello`,
			"5 2026-11-20T06:11:59.123456 host=host logger=root pid=4711 facility=1 msgid=ID timeQuality.tzKnown=1 timeQuality.isSynced=0 x@1.a=b | hello"},
		{"parameters that repeat", `<13>1 - h a - - [origin ip="10.0.0.1" ip="10.0.0.2"] x`, "5 " + now + " host=h logger=a pid=0 facility=1 origin.ip=10.0.0.1 origin.ip=10.0.0.2 | x"},
		{"escapes", `<13>1 - h a - - [x@1 a="\"\]\\ \n ]"] x`, "5 " + now + ` host=h logger=a pid=0 facility=1 x@1.a="]\ \n ] | x`},
		{"element of nothing", "<13>1 - h a - - [x@1] y", "5 " + now + " host=h logger=a pid=0 facility=1 x@1.= | y"},
		{"lines and bytes", "<13>1 - h a - - - \xff\n\r\nx\r\n\n", "5 " + now + " host=h logger=a pid=0 facility=1 | \xff\n\r\nx\r\n"},
		{"malformed structured data", `<13>1 - h a - - [x@1 a=b] y`, "5 " + now + ` host=h logger=a pid=0 facility=1 | [x@1 a=b] y`},
		{"no structured data", `<13>1 - h a 7 - text`, "5 " + now + ` host=h logger=a pid=7 facility=1 | text`},
		{"fields of logmule", `<13>1 - h a - - [logmule@32473 user="joe" http.status="200"] y`, "5 " + now + ` host=h logger=a pid=0 facility=1 user=joe http.status=200 | y`},
		{"not quite RFC 5424", "<13>1 apple a day", "5 " + now + " host=here logger=10.0.0.1:514 pid=0 facility=1 | 1 apple a day"},
	} {
		r := plainLine(c.text)
		if err := (syslogDecoder{}).Decode(&r); err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := show(&r); got != c.want || r.Type != "in" {
			t.Errorf("%s: %q\n got %s\nwant %s", c.name, c.text, got, c.want)
		}
	}
}

func TestDecodeSyslogRefuses(t *testing.T) {
	for _, text := range []string{"", "no priority", "<", "<>x", "<13", "<192>Nov 20 08:11:59 h a: b", "<0013>x", "<1a>x", "< 1>x", "[13]x", "<-1>x"} {
		r := plainLine(text)
		before := show(&r)
		if err := (syslogDecoder{}).Decode(&r); err == nil || show(&r) != before {
			t.Errorf("%q: error %v, record %s", text, err, show(&r))
		}
	}
}

func TestYearIsTheNearest(t *testing.T) {
	inZone(t, 0)
	for _, c := range []struct{ stamp, arrival, want string }{
		{"Dec 31 23:59:59", "2027-01-01T00:00:05Z", "2026-12-31T23:59:59"},
		{"Jan  1 00:00:01", "2026-12-31T23:59:58Z", "2027-01-01T00:00:01"},
		{"Jun 15 12:00:00", "2026-07-01T00:00:00Z", "2026-06-15T12:00:00"},
		{"Feb 29 12:00:00", "2029-01-01T00:00:00Z", "2028-02-29T12:00:00"},
		{"Feb 29 12:00:00", "2026-07-01T00:00:00Z", "2026-07-01T00:00:00"}, // none is near: it is no time
	} {
		r := plainLine("<13>" + c.stamp + " h a: b")
		at, err := time.Parse(time.RFC3339, c.arrival)
		if err != nil {
			t.Fatal(err)
		}
		r.Timestamp = at.UnixNano()
		if err := (syslogDecoder{}).Decode(&r); err != nil {
			t.Fatal(err)
		}
		if got := time.Unix(0, r.Timestamp).UTC().Format("2006-01-02T15:04:05"); got != c.want {
			t.Errorf("%s, arrived %s: %s, want %s", c.stamp, c.arrival, got, c.want)
		}
	}
}
