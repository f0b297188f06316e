package main

import (
	"reflect"
	"strings"
	"testing"
)

// TestArgs: typed from rx(1) and ssh(1).
func TestArgs(t *testing.T) {
	one := []string{"moon"}
	for line, want := range map[string]request{
		"moon uptime":          {machines: one, command: "uptime"},
		"moon! uptime":         {machines: one, command: "uptime"},
		"moon!uptime":          {machines: one, command: "uptime"},
		"moon!uptime -p":       {machines: one, command: "uptime -p"},
		"moon ls -l -n --help": {machines: one, command: "ls -l -n --help"},
		"-n moon ! x":          {machines: one, command: "! x", noInput: true},
		"-- moon -x":           {machines: one, command: "-x"},
		"moon a!b":             {machines: one, command: "a!b"},
		"moon!a!b":             {machines: one, command: "a!b"},
		"moon a@b":             {machines: one, command: "a@b"},
		"-B":                   {serve: true},

		"alice@moon ls":          {machines: one, command: "ls", user: "alice"},
		"a@b@moon ls":            {machines: one, command: "ls", user: "a@b"},
		"alice@moon!ls":          {machines: one, command: "ls", user: "alice"},
		"-l alice moon ls":       {machines: one, command: "ls", user: "alice"},
		"-lalice moon ls":        {machines: one, command: "ls", user: "alice"},
		"-l alice alice@moon ls": {machines: one, command: "ls", user: "alice"},
		"-oUser=alice moon ls":   {machines: one, command: "ls", user: "alice"},

		"-t moon vi":                  {machines: one, command: "vi", terminal: ifHere},
		"-tt moon vi":                 {machines: one, command: "vi", terminal: inAnyCase},
		"-t -t moon vi":               {machines: one, command: "vi", terminal: inAnyCase},
		"-T moon vi":                  {machines: one, command: "vi", terminal: never},
		"-oRequestTTY=force moon vi":  {machines: one, command: "vi", terminal: inAnyCase},
		"-e none -t moon vi":          {machines: one, command: "vi", terminal: ifHere, escape: 1},
		"-qntt moon vi":               {machines: one, command: "vi", terminal: inAnyCase, noInput: true},
		"-s moon sftp":                {machines: one, subsystem: "sftp", withSubsystem: true},
		"-a uptime -p":                {all: true, command: "uptime -p"},
		"-a -P 3 uptime":              {all: true, command: "uptime", parallel: 3},
		"a,b,a,c uptime":              {machines: []string{"a", "b", "c"}, command: "uptime"},
		"web* uptime":                 {machines: []string{"web*"}, command: "uptime"},
		"alice@web*,moon! uptime":     {machines: []string{"web*", "moon"}, command: "uptime", user: "alice"},
		"--json moon uptime":          {machines: one, command: "uptime", json: true},
		"-o SetEnv=LANG=C moon ls":    {machines: one, command: "ls", variables: []string{"LANG=C"}},
		"-o StdinNull=yes moon ls":    {machines: one, command: "ls", noInput: true},
		"-oSessionType=none moon ls":  {print: "error"},
		"-4 -6 -A -C -q -v -x moon a": {machines: one, command: "a"},
		// ansible
		"-C -o ControlMaster=auto -o ControlPersist=60s -o KbdInteractiveAuthentication=no -o PasswordAuthentication=no " +
			"-o ConnectTimeout=10 -o ControlPath=/x/y -o IdentityFile=/k -o User=alice -o Port=22 -tt moon a": {
			machines: one, command: "a", user: "alice", terminal: inAnyCase},
		// sftp and scp
		"-x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none -oRequestTTY=no -oForwardAgent=no " +
			"-oForwardX11=no -l alice -s -- moon sftp": {
			machines: one, subsystem: "sftp", withSubsystem: true, user: "alice", terminal: never},
		"-F /x -i /y -p 22 -c aes128-ctr -m hmac -b 1 -I z -E log -S ctl moon ls": {machines: one, command: "ls"},
	} {
		if want.print == "" && want.parallel == 0 {
			want.parallel = 16
		}
		switch want.escape {
		case 0:
			want.escape = '~'
		case 1:
			want.escape = 0
		}
		got, err := parseArgs(strings.Fields(line))
		if want.print == "error" {
			if err == nil {
				t.Errorf("rx %s was taken: %+v", line, got)
			}
		} else if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("rx %s:\n%+v, %v, want\n%+v", line, got, err, want)
		}
	}
}

const passwords = "passwords need sealed links, which this version does not have"

// TestArgsRefused: with the reason that is given.
func TestArgsRefused(t *testing.T) {
	for line, want := range map[string]string{
		"":             "no machine",
		"--":           "no machine",
		"moon":         "moon: no command; to log in there: ncu moon",
		"moon!":        "moon: no command",
		"-a":           "all machines: no command",
		"!ls":          "no machine before the !",
		"alice@ ls":    "empty",
		"@moon ls":     "not the name of a user",
		"- moon ls":    "not the name of a machine",
		"a,,b ls":      "an empty name",
		"[ ls":         "not a pattern",
		"-Z moon ls":   "-Z: no such option",
		"--tt moon ls": "--tt: no such option",
		"-B x":         "-B takes no arguments",
		"-l":           "-l: it needs a value",
		"-P 0 -a ls":   "-P 0",
		"-P 257 -a ls": "-P 257",
		"-e xx moon a": "-e xx",
		"-G moon":      "-G: no such option",
		"-Q cipher":    "-Q cipher: no such option",
		"-O exit moon": "-O exit: no such option",
		"-t a,b vi":    "for one machine",
		"-s -a sftp":   "for one machine",

		"-l alice bob@moon ls":      "two users, alice and bob",
		"-l alice:secret moon ls":   "alice: " + passwords,
		"-lalice:secret moon ls":    "alice: " + passwords,
		"alice:secret@moon ls":      "alice: " + passwords,
		"-oUser=alice:secret moon ": "alice: " + passwords,

		// What the caller would miss.
		"-L 1:a:2 moon ls":                        "nothing is forwarded",
		"-R 1:a:2 moon ls":                        "nothing is forwarded",
		"-D 1080 moon ls":                         "nothing is forwarded",
		"-W a:2 moon":                             "nothing is forwarded",
		"-J sun moon ls":                          "not by way of others",
		"-N moon":                                 "without a command",
		"-f moon ls":                              "without a command",
		"-X moon ls":                              "X11",
		"-o ForwardX11=yes moon ls":               "X11",
		"-o LocalForward=x moon ls":               "nothing is forwarded",
		"-o ProxyCommand=nc moon ls":              "not by way of a program",
		"-o PermitLocalCommand=yes moon ls":       "no local commands",
		"-o StrictHostKeyChecking=yes moon ls":    "for netman to say",
		"-o HostName=sun moon ls":                 "only address",
		"-o SetEnv=LD_PRELOAD=x moon ls":          "the far side takes",
		"-o RemoteCommand=ls moon ls":             "after the machine",
		"-o NoSuchOption=yes moon ls":             "no such option",
		"-o User moon ls":                         "KEY=VALUE",
		"-o RequestTTY=perhaps moon ls":           "no, yes, force or auto",
		"-l aaaaaaaaaabbbbbbbbbbccccccccccdddd x": "not the name of a user",
	} {
		if got, err := parseArgs(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("rx %s: %v, want %q (%+v)", line, err, want, got)
		}
	}
}

// TestStrictHostKeys: what ssh does by default may be said.
func TestStrictHostKeys(t *testing.T) {
	for _, value := range []string{"no", "ask", "accept-new", "off"} {
		if _, err := parseArgs([]string{"-o", "StrictHostKeyChecking=" + value, "moon", "ls"}); err != nil {
			t.Error(err)
		}
	}
	if _, err := parseArgs([]string{"-o", "ForwardX11 no", "moon", "ls"}); err != nil {
		t.Error(err)
	}
}
