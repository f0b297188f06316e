package main

var trustMutants = []mutant{
	{
		"root by wildcard", "netman/trust/rule.go", "return match(pattern, user) && (user != root || pattern == root)", "return match(pattern, user)",
		"A wildcard stands for root, too.",
	}, {
		"root by =", "netman/trust/rule.go", "p == Same && user == local && local != root ||", "p == Same && user == local ||",
		"The same name is root's, too.",
	}, {
		"root first", "netman/trust/rule.go", "literal(p) && p != root {", "literal(p) {",
		"A caller who asks for nobody is root.",
	}, {
		"authority", "netman/trust/decide.go", "return c.Authority == None || isNumber(c.User)", "return isNumber(c.User)",
		"A machine that nobody has accepted is trusted.",
	}, {
		"numbers", "netman/trust/decide.go", "return c.Authority == None || isNumber(c.User)", "return c.Authority == None || c.User == \"\"",
		"A user without a name is whoever has the number as a name here.",
	}, {
		"itself", "netman/trust/decide.go", "if c.Authority == Local && local == c.User {", "if c.Authority == Local {",
		"A caller on this machine is whoever it wants to be.",
	}, {
		"whose file", "netman/trust/decide.go", " || c.wanted() != owner {", " {",
		"A file says who its owner is, and other users are that, too.",
	}, {
		"not read", "netman/trust/decide.go", "if f.Unread != \"\" {", "if false {",
		"A file that must not be believed is.",
	}, {
		"bad lines", "netman/trust/file.go", "return l.Bad == \"\" && match(", "return match(",
		"A line that is wrong counts.",
	}, {
		"users here", "netman/trust/allow.go", "ok = here && match(e.user, c.User)", "ok = match(e.user, c.User)",
		"A user of this machine is one of that name on any.",
	}, {
		"groups here", "netman/trust/allow.go", "ok = here && slices.Contains(groups, e.group)", "ok = slices.Contains(groups, e.group)",
		"A group of this machine has members on others.",
	}, {
		"nobody", "netman/trust/allow.go", "if a == nil || a.entries == nil {", "if a == nil || len(a.entries) == 0 {",
		"An empty list lets everybody in.",
	}, {
		"reserved", "netman/guard.go", "if trust.Reserved(name) {", "if trust.Reserved(name) && name == \"\" {",
		"Anybody answers for rx.",
	}, {
		"kept", "netman/guard.go", "kept && keeper != uid {", "kept && keeper == uid {",
		"Anybody but its server answers to a name of servtab.",
	}, {
		"user id 0", "netman/account.go", "if as.uid == 0 && !d.Literal {", "if false {",
		"Root under another name is matched by a wildcard.",
	}, {
		"locked", "netman/account.go", "secret != nil && strings.HasPrefix(secret[1], \"!\")", "secret != nil && secret[1] == \"!\"",
		"An account whose password was locked is entered.",
	}, {
		"expired", "netman/account.go", "set && day >= expires {", "set && day > expires {",
		"An account is entered on the day of its expiry.",
	}, {
		"written by others", "netman/trustfile.go", "st.Mode&0o022 != 0", "st.Mode&0o002 != 0",
		"A file that its group can write is believed.",
	}, {
		"hard links", "netman/trustfile.go", "!directory && st.Nlink != 1", "!directory && st.Nlink < 1",
		"A file that has another name is believed.",
	}, {
		"links", "netman/trustfile.go", "trustDir, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, owner)", "trustDir, dir, unix.O_PATH|unix.O_DIRECTORY, owner)",
		"The directory is wherever its owner says.",
	}, {
		"other owners", "netman/trustfile.go", "case st.Uid != owner && st.Uid != 0:", "case false:",
		"A file of another user's is believed.",
	}, {
		"as nobody", "netman/caller.go", "r.as, r.trusted, named = as, d.Rule, as.name\n", "r.as, r.trusted, named = as, d.Rule, \"\"\n",
		"A server does not know that its user was named.",
	}, {
		"unfit", "netman/caller.go", "if r.unfit = err; err == nil {", "if r.unfit = err; true {",
		"An account that may not be entered is.",
	},
}
