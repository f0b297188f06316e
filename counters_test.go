package dnet_test

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every counter that the code has stands in the table of protocol.md, and the other way round, so that whoever reads `netman counters`
// can look up what a line means.
func TestCounters(t *testing.T) {
	text, err := os.ReadFile("doc/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Counters\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
		if documented[row[1]] {
			t.Errorf("protocol.md has the counter %q twice", row[1])
		}
		documented[row[1]] = true
	}
	counted := counters(t)
	if len(counted) < 50 {
		t.Fatalf("only %d counters were found in the code", len(counted))
	}
	for name, at := range counted {
		if !documented[name] {
			t.Errorf("%s: the counter %q is not in protocol.md", at, name)
		}
	}
	for name := range documented {
		if _, ok := counted[name]; !ok {
			t.Errorf("protocol.md has a counter %q, which the code has not", name)
		}
	}
}

// counters finds the names of all counters in the code, and where each is.
func counters(t *testing.T) map[string]string {
	found := map[string]string{}
	all := sources(t)
	parse := reasons(all)
	for _, s := range all {
		prefix, room := map[string]string{"netman": "", "netman/node": "", "netman/names": "names: ", "x25": "packet level: "}[s.dir]
		if !room || s.test {
			continue
		}
		for n := range ast.Preorder(s.file) {
			for _, name := range countersOf(n, parse) {
				if prefix == "" || !strings.HasPrefix(name, "link: ") {
					found[prefix+name] = s.at(n.Pos())
				}
			}
		}
	}
	for _, name := range parse["names"] {
		found[name] = "netman/names"
	}
	return found
}

// countersOf gives the names of the counters that a piece of code counts.
func countersOf(n ast.Node, parse map[string][]string) []string {
	switch n := n.(type) {
	case *ast.CallExpr: // count("name"), drop("name")
		if sel, ok := n.Fun.(*ast.SelectorExpr); ok && listed(sel.Sel.Name, "count drop") && len(n.Args) == 1 {
			return texts(n.Args[0], parse)
		}
	case *ast.IndexExpr: // all["name"], counters["name"]
		if name := lastName(n.X); listed(name, "all counters") {
			return slices.DeleteFunc(texts(n.Index, parse), func(text string) bool { return text == "IFACE" })
		}
	case *ast.ValueSpec: // var counterNames = ...
		if n.Names[0].Name == "counterNames" {
			return literals(n.Values[0].(*ast.CompositeLit).Elts, "")
		}
	case *ast.CompositeLit: // map[string]uint64{"name": ...}
		if m, ok := n.Type.(*ast.MapType); ok && lastName(m.Value) == "uint64" && len(n.Elts) > 0 {
			var keys []ast.Expr
			for _, e := range n.Elts {
				keys = append(keys, e.(*ast.KeyValueExpr).Key)
			}
			if len(keys) > 1 {
				return literals(keys, "link: ")
			}
			return literals(keys, "")
		}
	}
	return nil
}

// texts are the values that an expression of strings can have: the name of an interface is IFACE, the type of a message TYPE, what is
// wrong with a message REASON, and the errors of frames have their texts.
func texts(e ast.Expr, parse map[string][]string) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return []string{text}
	case *ast.BinaryExpr:
		if call, ok := e.Y.(*ast.CallExpr); ok && lastName(call.Fun) == "Error" {
			parse = map[string][]string{"frame": {"REASON"}} // behind what went wrong
		}
		var all []string
		for _, x := range texts(e.X, parse) {
			for _, y := range texts(e.Y, parse) {
				all = append(all, x+y)
			}
		}
		return all
	case *ast.SelectorExpr:
		if e.Sel.Name == "name" {
			return []string{"IFACE"}
		}
	case *ast.CallExpr:
		switch lastName(e.Fun) {
		case "Reason":
			return []string{"REASON"}
		case "Error":
			return parse["frame"]
		case "String":
			if sel, ok := e.Fun.(*ast.SelectorExpr); ok && lastName(sel.X) == "Type" {
				return []string{"TYPE"}
			}
		}
	}
	return nil
}

// reasons are the texts of the errors of the decoders, which are names of counters: of frames, and of messages.
func reasons(all []source) map[string][]string {
	parse := map[string][]string{}
	add := func(of string, e ast.Expr) {
		if text := texts(e, nil); len(text) == 1 && !slices.Contains(parse[of], text[0]) {
			parse[of] = append(parse[of], text[0])
		}
	}
	for _, s := range all {
		frames := listed(s.path, "netman/node/frame.go netman/hdlc/frame.go netman/seal/handshake.go netman/seal/session.go")
		if s.test || !frames && s.dir != "netman/names" {
			continue
		}
		for n := range ast.Preorder(s.file) {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				continue
			}
			switch name := lastName(call.Fun); {
			case frames && name == "New":
				add("frame", call.Args[0])
			case !frames && name == "refuse":
				add("names", call.Args[0])
			}
		}
	}
	return parse
}

// literals are the texts in a list.
func literals(list []ast.Expr, prefix string) (all []string) {
	for _, e := range list {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, _ := strconv.Unquote(lit.Value)
			all = append(all, prefix+text)
		}
	}
	return all
}

// lastName is the name at the end of an expression.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
