// Package ul is the state machine of the DICOM upper layer: PS3.8 Table 9-10
// as it stands, and nothing else. It performs no action, keeps no time and
// touches no connection; who runs an association does as it is told.
package ul

import "fmt"

// State is one of the thirteen states of PS3.8 Tables 9-1 to 9-5.
type State byte

// The states. Sta1 is idle; in Sta6 data flows.
const (
	Sta1  State = iota + 1 // idle
	Sta2                   // transport connection open, awaiting A-ASSOCIATE-RQ
	Sta3                   // awaiting local A-ASSOCIATE response
	Sta4                   // awaiting transport connection to open
	Sta5                   // awaiting A-ASSOCIATE-AC or -RJ
	Sta6                   // association established, ready for data
	Sta7                   // awaiting A-RELEASE-RP
	Sta8                   // awaiting local A-RELEASE response
	Sta9                   // release collision, requestor: awaiting local A-RELEASE response
	Sta10                  // release collision, acceptor: awaiting A-RELEASE-RP
	Sta11                  // release collision, requestor: awaiting A-RELEASE-RP
	Sta12                  // release collision, acceptor: awaiting local A-RELEASE response
	Sta13                  // awaiting transport connection to close
)

// States is the number of states, and Events that of events.
const (
	States = 13
	Events = 19
)

// String is the state's name in the standard.
func (s State) String() string { return fmt.Sprintf("Sta%d", byte(s)) }

// Event is one of the nineteen events of PS3.8 Table 9-10, numbered from the
// top as Evt1 to Evt19.
type Event byte

// The events: requests and responses come from the local user, Received ones
// from the peer.
const (
	AssociateRequest    Event = iota + 1 // Evt1
	TransportConfirmed                   // Evt2
	ReceivedAssociateAC                  // Evt3
	ReceivedAssociateRJ                  // Evt4
	TransportIndication                  // Evt5
	ReceivedAssociateRQ                  // Evt6
	AcceptResponse                       // Evt7
	RejectResponse                       // Evt8
	DataRequest                          // Evt9
	ReceivedData                         // Evt10
	ReleaseRequest                       // Evt11
	ReceivedReleaseRQ                    // Evt12
	ReceivedReleaseRP                    // Evt13
	ReleaseResponse                      // Evt14
	AbortRequest                         // Evt15
	ReceivedAbort                        // Evt16
	TransportClosed                      // Evt17
	TimerExpired                         // Evt18
	ReceivedInvalid                      // Evt19
)

// String is the event's name in the standard.
func (e Event) String() string { return fmt.Sprintf("Evt%d", byte(e)) }

// Action is what is to be done (PS3.8 Tables 9-6 to 9-9).
type Action byte

// The actions. None is that of an empty cell: the event cannot happen in that
// state, or the local user may not ask for it.
const (
	None Action = iota
	AE1         // open a transport connection
	AE2         // send A-ASSOCIATE-RQ
	AE3         // confirm: accepted
	AE4         // confirm: rejected; close
	AE5         // start ARTIM
	AE6         // stop ARTIM; indicate the request, or send A-ASSOCIATE-RJ and start ARTIM
	AE7         // send A-ASSOCIATE-AC
	AE8         // send A-ASSOCIATE-RJ, start ARTIM
	DT1         // send P-DATA-TF
	DT2         // indicate data
	AR1         // send A-RELEASE-RQ
	AR2         // indicate release
	AR3         // confirm release; close
	AR4         // send A-RELEASE-RP, start ARTIM
	AR5         // stop ARTIM
	AR6         // indicate data
	AR7         // send P-DATA-TF
	AR8         // indicate release collision
	AR9         // send A-RELEASE-RP
	AR10        // confirm release
	AA1         // send A-ABORT (service-user), restart ARTIM
	AA2         // stop ARTIM; close
	AA3         // indicate abort; close
	AA4         // indicate abort by the provider
	AA5         // stop ARTIM
	AA6         // ignore
	AA7         // send A-ABORT
	AA8         // send A-ABORT (service-provider), indicate abort, start ARTIM
)

// String is the action's name in the standard; None is "-".
func (a Action) String() string {
	switch {
	case a == None:
		return "-"
	case a <= AE8:
		return fmt.Sprintf("AE-%d", a-AE1+1)
	case a <= DT2:
		return fmt.Sprintf("DT-%d", a-DT1+1)
	case a <= AR10:
		return fmt.Sprintf("AR-%d", a-AR1+1)
	default:
		return fmt.Sprintf("AA-%d", a-AA1+1)
	}
}

// Machine is the state of one association.
type Machine struct {
	state     State
	requestor bool
}

// NewMachine returns an idle Machine of the side that asks for the
// association (requestor) or of the one that is asked.
func NewMachine(requestor bool) Machine { return Machine{state: Sta1, requestor: requestor} }

// State is where the association stands.
func (m *Machine) State() State { return m.state }

// Fire takes an event and returns the action that it asks for. When that is
// None the event is not one of this state, and the state stays as it was. At
// AR-8 the Machine takes the way of its side. At AE-6 it takes the way of an
// acceptable request; the runner answers one that is not by RejectResponse,
// whose action and next state are the very same.
func (m *Machine) Fire(e Event) Action {
	next, action := Step(m.state, e)
	if action == AR8 && !m.requestor {
		next = Sta10
	}
	m.state = next
	return action
}
