package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dnet/netman/trust"
)

// findAccount is the user that the rules made of a caller, if a server may be started as that user: not one that is locked, expired or has
// no shell to log in with, for to trust a caller is to let it log in; and user id 0 only where it was named.
func findAccount(d *trust.Decision) (identity, error) {
	as, err := lookupUser(d.User)
	if err != nil {
		return as, err
	}
	if as.uid == 0 && !d.Literal {
		return as, fmt.Errorf("%s has user id 0, and must be named literally", d.User)
	}
	if d.Rule == trust.Itself || int(as.uid) == os.Getuid() && as.uid != 0 {
		return as, nil // it is logged in: as the caller, or to run this netman
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return as, err
	}
	// Where shadow cannot be read there is none, or this netman is not root and the user is its own.
	shadow, err := os.ReadFile("/etc/shadow")
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		return as, err
	}
	return as, checkAccount(d.User, string(passwd), string(shadow), time.Now())
}

// checkAccount says why nobody may log in as this user, by passwd(5) and shadow(5).
func checkAccount(name, passwd, shadow string, now time.Time) error {
	account := entryOf(passwd, name, 7)
	if account == nil {
		return fmt.Errorf("%s is not in /etc/passwd", name)
	}
	switch shell := filepath.Base(account[6]); shell {
	case "nologin", "false":
		return fmt.Errorf("%s may not log in: its shell is %s", name, account[6])
	}
	secret := entryOf(shadow, name, 9)
	if strings.HasPrefix(account[1], "!") || secret != nil && strings.HasPrefix(secret[1], "!") {
		return fmt.Errorf("%s is locked: its password begins with '!' (usermod -p '*' %s unlocks it without giving it one)", name, name)
	}
	if secret == nil {
		return nil
	}
	day := now.Unix() / (24 * 60 * 60)
	if expires, set := days(secret[7]); set && day >= expires {
		return fmt.Errorf("%s has expired, %d days ago", name, day-expires)
	}
	// A password that is too old may still be changed for so many days; then the account is closed.
	changed, set1 := days(secret[2])
	most, set2 := days(secret[4])
	grace, set3 := days(secret[6])
	if set1 && set2 && set3 && day > changed+most+grace {
		return fmt.Errorf("%s is closed: its password expired %d days ago", name, day-changed-most)
	}
	return nil
}

// entryOf finds the line of a name in a table of fields with colons between.
func entryOf(table, name string, fields int) []string {
	for line := range strings.Lines(table) {
		if f := strings.Split(strings.TrimSuffix(line, "\n"), ":"); f[0] == name && len(f) >= fields {
			return f
		}
	}
	return nil
}

// days is a field of shadow; an empty one, or a negative number, is not set.
func days(field string) (n int64, set bool) {
	n, err := strconv.ParseInt(field, 10, 32)
	return n, err == nil && n >= 0
}
