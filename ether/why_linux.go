package ether

import (
	"fmt"
	"slices"
	"strings"
)

// WhyNot says why a station does not use the link of that name, of these links, with these named ("": it does), and what to do about it
// where that is not plain.
func WhyNot(name string, links []Link, named []string) string {
	i := slices.IndexFunc(links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return "there is no such interface; 'ip link' lists those there are"
	}
	l := links[i]
	switch {
	case !l.Ethernet:
		return "it is not an Ethernet"
	case len(named) > 0 && !slices.Contains(named, name):
		return "only " + strings.Join(named, ", ") + " is named, by -i or servtab"
	case !l.adminUp:
		return fmt.Sprintf("it is down: ip link set %s up", name)
	case !l.Up:
		return "it has no carrier: is its cable plugged in, is the other end on?"
	case len(named) > 0 || slices.ContainsFunc(choose(links), func(c Link) bool { return c.Index == l.Index }):
		return ""
	}
	return l.notChosen(links)
}

// notChosen says why the default choice leaves out a link that is up.
func (l Link) notChosen(links []Link) string {
	if barred(l) {
		return "docker, virbr and veth interfaces are used only when they are named, by -i or servtab"
	}
	if i := slices.IndexFunc(links, func(m Link) bool { return l.Master != 0 && m.Index == l.Master }); i >= 0 {
		return "it is a port of " + links[i].Name + ", which has its frames"
	}
	if i := slices.IndexFunc(links, func(v Link) bool { return v.Kind == "vlan" && v.Lower == l.Index && v.Up }); i >= 0 {
		return links[i].Name + ", a VLAN on it, is used instead"
	}
	return "no physical Ethernet is below it; name it, by -i or servtab, to use it"
}
