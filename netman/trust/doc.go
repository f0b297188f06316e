// Package trust decides who may call a service of this machine, and which local user a caller is: the [[trust]] rules and allow lists of
// servtab(5), and ~/.dnet/trust. It is pure: files are read, and users looked up, by others.
//
//	caller (machine, user) ── Allow.May ──> the call is taken, or cleared 0B
//	                       ── Decide ────> a rule of servtab makes the caller a local user,
//	                                       or the owner of a ~/.dnet/trust may say so:
//	                       ── DecideFile > it does,
//	                                       or the caller is nobody
//
// Nobody is trusted unless a rule says so; there are only rules that allow, so their order does not matter to who may be whom. What a
// rule may count on is the Authority of the caller's machine. A key that was merely met first says that a machine is the one it was
// yesterday, and nothing about what it may do: rules match machines that an administrator has accepted, those that know the site's
// secret, and this machine itself, whose kernel says who calls.
//
// Root is matched by no wildcard and by no "=": neither as the caller nor as the local user. It is named, literally, or it is not meant.
package trust
