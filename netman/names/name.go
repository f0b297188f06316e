package names

import (
	"errors"
	"fmt"
	"strings"
)

// FoldService returns the name in lower case. Only A-Z are folded; every other octet stays and is left to CheckService.
func FoldService(name string) string {
	folded := []byte(name)
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}

// SplitService cuts service.machine.domain into its parts. An installation-wide name has no machine.
func SplitService(name string) (service, machine, domain string) {
	service, rest, _ := strings.Cut(name, ".")
	machine, domain, _ = strings.Cut(rest, ".")
	return service, machine, domain
}

// CheckService tells whether name, folded, is the name of a service: one label (installation-wide) or
// service.machine[.domain…], at most 80 octets (protocol.md 2). The error names the part at fault and the rule.
func CheckService(name string) error {
	if len(name) > maxService {
		return fmt.Errorf("service name %s has %d octets; %d are allowed", quote(name), len(name), maxService)
	}
	parts := []string{"service", "machine", "domain"}
	for i, label := range strings.Split(name, ".") {
		if err := checkLabel(label); err != nil {
			return fmt.Errorf("service name %s: %s %w", quote(name), parts[min(i, 2)], err)
		}
	}
	return nil
}

// CheckLabel tells whether name, folded, is one label, such as a machine's name: 1 to 32 of a-z, 0-9 and '-'.
func CheckLabel(name string) error {
	if err := checkLabel(name); err != nil {
		return fmt.Errorf("name %w", err)
	}
	return nil
}

// CheckUser tells whether name is a user's: at most 32 of A-Z, a-z, 0-9, '.', '_' and '-'. The empty name stands for a
// caller without one.
func CheckUser(name string) error {
	if len(name) > maxUser {
		return fmt.Errorf("user name %s has %d octets; %d are allowed", quote(name), len(name), maxUser)
	}
	for _, r := range name {
		if !isLabelRune(r) && !('A' <= r && r <= 'Z') && r != '.' && r != '_' {
			return fmt.Errorf("user name %s has the character %q; allowed are A-Z, a-z, 0-9, '.', '_' and '-'", quote(name), r)
		}
	}
	return nil
}

// checkDomain tells whether name is a list of labels, separated by dots.
func checkDomain(name string) error {
	if len(name) > maxService {
		return fmt.Errorf("domain %s has %d octets; %d are allowed", quote(name), len(name), maxService)
	}
	for _, label := range strings.Split(name, ".") {
		if err := checkLabel(label); err != nil {
			return fmt.Errorf("domain %w", err)
		}
	}
	return nil
}

func checkLabel(label string) error {
	if label == "" {
		return errors.New("is empty; a label has 1 to 32 of a-z, 0-9 and '-'")
	}
	if len(label) > maxLabel {
		return fmt.Errorf("%s has %d octets; a label has 1 to %d", quote(label), len(label), maxLabel)
	}
	for _, r := range label {
		if !isLabelRune(r) {
			return fmt.Errorf("%s has the character %q; a label has 1 to 32 of a-z, 0-9 and '-'", quote(label), r)
		}
	}
	return nil
}

func isLabelRune(r rune) bool {
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-'
}

// quote is a name as messages show it: printable, and not longer than a name can be.
func quote(name string) string {
	if len(name) > maxService {
		return fmt.Sprintf("%q…", name[:maxService])
	}
	return fmt.Sprintf("%q", name)
}
