package main

import (
	"fmt"
	"slices"
	"strings"

	"dnet/session"
)

// Programs that drive ssh give rx its options. What means nothing on this network is skipped: addresses, ports,
// keys, ciphers, how long to wait. What the caller would miss, or be less safe without, is refused before
// anything is dialled.

// skippedFlags are options of ssh without a value that mean nothing here.
const skippedFlags = "46ACgKkMqvxy"

func sshFlag(name string) error {
	switch {
	case strings.Contains(skippedFlags, name):
		return nil
	case name == "f" || name == "N":
		return fmt.Errorf("-%s: connections without a command are not in this version", name)
	case name == "X" || name == "Y":
		return fmt.Errorf("-%s: X11 is not forwarded in this version", name)
	}
	return fmt.Errorf("-%s: no such option (rx --help)", name)
}

func sshValue(name, value string) error {
	switch name {
	case "b", "c", "E", "F", "I", "i", "m", "p", "S":
		return nil
	case "D", "L", "R", "W", "w":
		return fmt.Errorf("-%s %s: nothing is forwarded in this version", name, value)
	case "J":
		return fmt.Errorf("-J %s: a machine is called by its name, not by way of others; try rx %s rx ...", value, value)
	}
	return fmt.Errorf("-%s %s: no such option (rx --help)", name, value)
}

// skippedOptions are those of ssh_config(5) that mean nothing here, whatever their value is.
const skippedOptions = `
	addkeystoagent addressfamily batchmode bindaddress bindinterface canonicaldomains canonicalizefallbacklocal
	canonicalizehostname canonicalizemaxdots canonicalizepermittedcnames casignaturealgorithms certificatefile
	challengeresponseauthentication channeltimeout checkhostip ciphers clearallforwardings compression compressionlevel
	connectionattempts connecttimeout controlmaster controlpath controlpersist enablesshkeysign exitonforwardfailure
	fingerprinthash forwardagent forwardx11timeout gatewayports globalknownhostsfile gssapiauthentication
	gssapidelegatecredentials hashknownhosts hostbasedacceptedalgorithms hostbasedauthentication hostkeyalgorithms
	hostkeyalias identitiesonly identityagent identityfile ignoreunknown include ipqos kbdinteractiveauthentication
	kbdinteractivedevices kexalgorithms loglevel logverbose macs nohostauthenticationforlocalhost numberofpasswordprompts
	passwordauthentication pkcs11provider port preferredauthentications pubkeyacceptedalgorithms pubkeyacceptedkeytypes
	pubkeyauthentication rekeylimit requiredrsasize revokedhostkeys securitykeyprovider sendenv serveralivecountmax
	serveraliveinterval streamlocalbindmask streamlocalbindunlink syslogfacility tag tcpkeepalive updatehostkeys
	useprivilegedport userknownhostsfile visualhostkey xauthlocation forwardx11trusted`

// onlyOff are those that are skipped where they switch something off that rx does not do anyway, and refused
// otherwise.
var onlyOff = map[string]string{
	"dynamicforward":          "nothing is forwarded in this version",
	"forkafterauthentication": "rx stays in the foreground",
	"forwardx11":              "X11 is not forwarded in this version",
	"localcommand":            "rx runs no local commands",
	"localforward":            "nothing is forwarded in this version",
	"permitlocalcommand":      "rx runs no local commands",
	"permitremoteopen":        "nothing is forwarded in this version",
	"proxycommand":            "a machine is called by its name, not by way of a program",
	"proxyjump":               "a machine is called by its name, not by way of others",
	"proxyusefdpass":          "a machine is called by its name, not by way of a program",
	"remotecommand":           "the command stands after the machine",
	"remoteforward":           "nothing is forwarded in this version",
	"tunnel":                  "nothing is forwarded in this version",
	"tunneldevice":            "nothing is forwarded in this version",
	"knownhostscommand":       "rx runs no local commands",
}

// isWord tells whether a list of words has this one.
func isWord(word, list string) bool { return slices.Contains(strings.Fields(list), word) }

// sshOption takes the value of -o: Key=value or Key value, with or without double quotes around the value.
func (r *request) sshOption(option string) error {
	i := strings.IndexAny(option, "= \t")
	if i < 0 {
		return fmt.Errorf("-o %s: it is KEY=VALUE", option)
	}
	key, value := strings.ToLower(option[:i]), strings.Trim(strings.Trim(option[i:], "= \t"), `"`)
	refuse := func(why string) error { return fmt.Errorf("-o %s: %s", option, why) }
	why, off := onlyOff[key]
	switch {
	case isWord(key, skippedOptions):
		return nil
	case off && isOff(value):
		return nil
	case off:
		return refuse(why)
	}
	switch key {
	case "user":
		return session.ParseUser(&r.user, value)
	case "escapechar":
		return r.value("e", value)
	case "stdinnull":
		r.noInput = r.noInput || !isOff(value)
	case "requesttty":
		kind, ok := map[string]terminal{"no": never, "yes": ifHere, "force": inAnyCase, "auto": ifNeeded}[strings.ToLower(value)]
		if !ok {
			return refuse("it is no, yes, force or auto")
		}
		r.terminal = kind
	case "sessiontype":
		switch strings.ToLower(value) {
		case "default":
		case "subsystem":
			r.withSubsystem = true
		default:
			return refuse("connections without a command are not in this version")
		}
	case "setenv":
		for v := range strings.FieldsSeq(value) {
			if !session.Passed(v) {
				return refuse("the far side takes LANG, LANGUAGE, LC_*, TERM, COLORTERM and GIT_PROTOCOL only")
			}
			r.variables = append(r.variables, v)
		}
	case "stricthostkeychecking", "verifyhostkeydns":
		if strings.ToLower(value) == "yes" {
			return refuse("which machines are known is for netman to say: set pin = \"strict\" under [security] in servtab.toml")
		}
	case "hostname":
		return refuse("the machine's name is its only address")
	default:
		return refuse("no such option (rx --help)")
	}
	return nil
}

func isOff(value string) bool {
	switch strings.ToLower(value) {
	case "no", "none", "off", "false":
		return true
	}
	return false
}
