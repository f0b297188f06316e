package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/ether"
	"dnet/netman/names"
	"dnet/netman/node"
)

// finding is one thing that doctor has found out.
type finding struct {
	Row   string `json:"row"`   // "finding"
	Level string `json:"level"` // "ok", "note" or "wrong"
	Step  string `json:"step"`  // netman, name, interface, station, query, hello, link, path
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what to do about it
}

// doctor looks for what keeps machines from seeing each other.
type doctor struct {
	opt      *options
	named    bool // servtab was named
	asJSON   bool
	findings []finding

	machine    machineRow
	interfaces []interfaceRow
}

// doctorCommand says why two machines do not see each other.
func doctorCommand(opt *options) *cobra.Command {
	d := &doctor{opt: opt}
	cmd := &cobra.Command{
		Use: "doctor [MACHINE]", Short: "say why machines do not see each other",
		Long: "Looks at the running netman, or at why there is none, and says what is wrong and what to do about it. With MACHINE it\n" +
			"goes the way to that machine step by step, and says at which it ends. The status is 0 if all is well, else 1.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.named = cmd.Flags().Changed("config")
			machine := ""
			if len(args) == 1 {
				machine = names.FoldService(args[0])
				if err := names.CheckLabel(machine); err != nil {
					return fmt.Errorf("doctor: %w", err)
				}
			}
			d.examine(machine)
			return d.verdict()
		},
	}
	configFlag(cmd, opt)
	cmd.Flags().BoolVar(&d.asJSON, "json", false, "print one JSON object per line")
	return cmd
}

// examine goes from the inside out.
func (d *doctor) examine(machine string) {
	if !d.askNetman() {
		return
	}
	d.judgeName()
	d.judgeInterfaces()
	d.judgeCounters()
	switch {
	case machine == "":
	case machine == d.machine.Machine:
		d.ok("query", machine+" is this machine")
	default:
		d.wayTo(machine)
	}
}

// verdict is the end: an error if something is wrong.
func (d *doctor) verdict() error {
	wrong := 0
	for _, f := range d.findings {
		if f.Level == "wrong" {
			wrong++
		}
	}
	switch wrong {
	case 0:
		return nil
	case 1:
		return errors.New("doctor: one thing is wrong")
	}
	return fmt.Errorf("doctor: %d things are wrong", wrong)
}

// say notes a finding and prints it.
func (d *doctor) say(f finding) {
	f.Row = "finding"
	d.findings = append(d.findings, f)
	if d.asJSON {
		text, _ := json.Marshal(f)
		fmt.Printf("%s\n", text)
		return
	}
	text := f.Text
	if f.Do != "" {
		text += ": " + f.Do
	}
	fmt.Printf("%-5s %s\n", f.Level, text)
}

func (d *doctor) ok(step, text string) { d.say(finding{Level: "ok", Step: step, Text: text}) }
func (d *doctor) note(step, text, do string) {
	d.say(finding{Level: "note", Step: step, Text: text, Do: do})
}
func (d *doctor) wrong(step, text, do string) {
	d.say(finding{Level: "wrong", Step: step, Text: text, Do: do})
}

// doctorPatience is how long netman may take for an answer at the door.
const doctorPatience = 5 * time.Second

// askNetman asks the netman of this machine for what it knows of itself: false if there is none, or it does not answer.
func (d *doctor) askNetman() bool {
	rows, err := d.rows("status")
	if err == nil {
		err = firstRow(rows, "machine", &d.machine)
	}
	if err == nil {
		err = d.askInterfaces()
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		d.wrong("netman", "no netman answers at "+d.opt.door,
			"start it; one that ends at once says why on its standard error: the name is in use, CAP_NET_RAW is missing, servtab is wrong")
		d.judgeWithoutNetman()
		return false
	case errors.Is(err, unix.EAGAIN):
		d.wrong("netman", "netman does not answer at "+d.opt.door, "it is stopped or hangs: continue it (kill -CONT), or end it and start it again")
		return false
	case errors.Is(err, unix.EACCES):
		d.wrong("netman", "the door "+d.opt.door+" may not be opened by this user", "it has mode 0666; look at the folders above it")
		return false
	case err != nil:
		d.wrong("netman", err.Error(), "")
		return false
	}
	return true
}

// askInterfaces asks for the interfaces as they are now.
func (d *doctor) askInterfaces() error {
	rows, err := d.rows("interfaces")
	d.interfaces = nil
	for _, raw := range rows {
		var r interfaceRow
		if err == nil {
			err = json.Unmarshal(raw, &r)
		}
		d.interfaces = append(d.interfaces, r)
	}
	return err
}

// rows asks the door, and does not wait for ever.
func (d *doctor) rows(what string) ([]json.RawMessage, error) {
	fd, err := visit(d.opt.door, circuit.Line{Verb: "status", Words: []string{what}})
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(doctorPatience.Nanoseconds())
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	return readRows(fd, d.opt.door)
}

// firstRow reads the first row of a kind.
func firstRow(rows []json.RawMessage, kind string, row any) error {
	for _, raw := range rows {
		var r struct{ Row string }
		if json.Unmarshal(raw, &r) == nil && r.Row == kind {
			return json.Unmarshal(raw, row)
		}
	}
	return fmt.Errorf("netman says nothing of its %s", kind)
}

// judgeWithoutNetman looks at what the netman that is to be started will find.
func (d *doctor) judgeWithoutNetman() {
	st, err := readServtab(d.opt.servtab, d.named)
	if err != nil {
		d.wrong("netman", err.Error(), "'netman check' reads it again")
		return
	}
	named, ethertype, err := st.interfaces("")
	if err != nil {
		d.wrong("netman", err.Error(), "")
		return
	}
	links, err := ether.Links()
	if err != nil {
		d.wrong("interface", err.Error(), "")
		return
	}
	used := 0
	for _, link := range links {
		if !link.Ethernet {
			continue
		}
		if why := ether.WhyNot(link.Name, links, named); why != "" {
			d.note("interface", link.Name+" would not be used", why)
			continue
		}
		used++
		d.tryPort(link, ethertype)
	}
	if used == 0 {
		d.wrong("interface", "there is no Ethernet interface to use", "set one up, or name one by -i or servtab")
	}
}

// tryPort opens a packet socket as netman would, where that says something: as root, who may lack the right all the same.
func (d *doctor) tryPort(link ether.Link, ethertype uint16) {
	if os.Geteuid() != 0 {
		d.ok("interface", describeLink(link))
		return
	}
	port, err := ether.Open(link.Name, ethertype, ether.RawConfig{Group: node.Group})
	if err != nil {
		d.wrong("interface", err.Error(), "")
		return
	}
	port.Close()
	d.ok("interface", describeLink(link))
}

func describeLink(l ether.Link) string {
	return fmt.Sprintf("%s: station %v, MTU %d", l.Name, l.Addr, l.MTU)
}

// judgeName says whether the machine has its name, and alone.
func (d *doctor) judgeName() {
	m := &d.machine
	text := fmt.Sprintf("netman %s on %s, Ethertype %s, mode %s, up for %s", m.Version, m.Machine, m.Type, m.Mode, seconds(m.Seconds))
	if m.Up {
		d.ok("netman", text)
	} else {
		d.wrong("name", text+", and has not claimed its name yet", "that takes half a second; ask again")
	}
	for _, clash := range m.Clashes {
		d.wrong("name", clash, "give one of them another name, by the host name, servtab or --machine, and start it again")
	}
}

// silence is after how many frames of ours without one of another station there is something to say about it.
const silence = 3

// judgeInterfaces says which interfaces are used, and what is the matter with each.
func (d *doctor) judgeInterfaces() {
	used := 0
	for _, r := range d.interfaces {
		if r.Used {
			used++
		}
	}
	for _, r := range d.interfaces {
		switch {
		case r.Used:
			d.judgeUsed(r)
		case r.Wanted:
			d.wrong("interface", r.Interface+" is not in use", r.Why)
		default:
			d.note("interface", r.Interface+" is not used", r.Why)
		}
	}
	if used == 0 {
		d.wrong("interface", "no Ethernet interface is in use", "set one up, or name one by -i or servtab")
	}
}

// judgeUsed looks at what goes in and out of an interface.
func (d *doctor) judgeUsed(r interfaceRow) {
	d.ok("interface", fmt.Sprintf("%s: station %s, MTU %d, %d frames sent, %d received", r.Interface, r.Station, r.MTU, r.Sent, r.Received))
	if r.Buffer < bufferWanted {
		d.note("interface", fmt.Sprintf("%s: its receive buffer has %d KiB of %d, so windows are smaller", r.Interface, r.Buffer>>10, bufferWanted>>10),
			fmt.Sprintf("sysctl net.core.rmem_max=%d before netman starts, or give it CAP_NET_ADMIN", bufferWanted/2))
	}
	if r.Lost > 0 {
		d.note("interface", fmt.Sprintf("%s: %d frames came faster than netman read them", r.Interface, r.Lost),
			"they were sent again; if it goes on, netman lacks processor time or receive buffer")
	}
	if r.Received == 0 && r.Sent >= silence {
		d.note("interface", d.silent(r), "")
	}
}

// silent says what it may mean that an interface has brought no frame of ours.
func (d *doctor) silent(r interfaceRow) string {
	text := fmt.Sprintf("%s: no frame of Ethertype %s has come, though %d were sent", r.Interface, d.machine.Type, r.Sent)
	if r.Others > 0 {
		return fmt.Sprintf("%s and %d others came: no other netman is on that network, or has another Ethertype, or something filters ours", text, r.Others)
	}
	return text + " and nothing else came either: nobody is on that network, or its cable or switch does not work"
}

// judgeCounters looks for what other stations do wrong.
func (d *doctor) judgeCounters() {
	rows, err := d.rows("counters")
	var r countersRow
	if err == nil {
		err = firstRow(rows, "counters", &r)
	}
	if err != nil {
		d.wrong("netman", err.Error(), "")
		return
	}
	if n := r.Counters["own address"]; n > 0 {
		d.wrong("station", fmt.Sprintf("another station uses our MAC address: %d messages of it came", n),
			"give one of them another: ip link set IFACE address ...; a copied virtual machine has that of the original")
	}
	if n := r.Counters["hello of another version or mode"]; n > 0 {
		d.note("station", fmt.Sprintf("%d times a station of another version or mode wanted a link", n), "'netman links' and the log say which")
	}
	for name, n := range r.Counters {
		if strings.HasPrefix(name, "faults: ") && n > 0 {
			d.note("interface", "netman was started with --faults and disturbs its frames", "start it without")
			break
		}
	}
}
