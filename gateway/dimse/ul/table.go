package ul

// cell is an action and, in the lower byte, the state that follows.
type cell uint16

func (c cell) action() Action { return Action(c >> 8) }
func (c cell) next() State    { return State(c & 0xFF) }

// row is a line of PS3.8 Table 9-10: one cell for each state from Sta1.
type row [States]cell

// Step is PS3.8 Table 9-10. Where the table names two states, it returns the
// first: Sta3 after AE-6, Sta9 after AR-8. An empty cell is None and leaves
// the state as it is, as do numbers that are no state or event.
func Step(state State, event Event) (next State, action Action) {
	if state < Sta1 || state > Sta13 || event < AssociateRequest || event > ReceivedInvalid {
		return state, None
	}
	c := table()[event-AssociateRequest][state-Sta1]
	if c == none {
		return state, None
	}
	return c.next(), c.action()
}

// What the cells hold: an action always leads to the same state.
const (
	none = cell(None)
	aa01 = cell(AA1)<<8 | cell(Sta13)
	aa02 = cell(AA2)<<8 | cell(Sta1)
	aa03 = cell(AA3)<<8 | cell(Sta1)
	aa04 = cell(AA4)<<8 | cell(Sta1)
	aa05 = cell(AA5)<<8 | cell(Sta1)
	aa06 = cell(AA6)<<8 | cell(Sta13)
	aa07 = cell(AA7)<<8 | cell(Sta13)
	aa08 = cell(AA8)<<8 | cell(Sta13)
	ae01 = cell(AE1)<<8 | cell(Sta4)
	ae02 = cell(AE2)<<8 | cell(Sta5)
	ae03 = cell(AE3)<<8 | cell(Sta6)
	ae04 = cell(AE4)<<8 | cell(Sta1)
	ae05 = cell(AE5)<<8 | cell(Sta2)
	ae06 = cell(AE6)<<8 | cell(Sta3)
	ae07 = cell(AE7)<<8 | cell(Sta6)
	ae08 = cell(AE8)<<8 | cell(Sta13)
	ar01 = cell(AR1)<<8 | cell(Sta7)
	ar02 = cell(AR2)<<8 | cell(Sta8)
	ar03 = cell(AR3)<<8 | cell(Sta1)
	ar04 = cell(AR4)<<8 | cell(Sta13)
	ar05 = cell(AR5)<<8 | cell(Sta1)
	ar06 = cell(AR6)<<8 | cell(Sta7)
	ar07 = cell(AR7)<<8 | cell(Sta8)
	ar08 = cell(AR8)<<8 | cell(Sta9)
	ar09 = cell(AR9)<<8 | cell(Sta11)
	ar10 = cell(AR10)<<8 | cell(Sta12)
	dt01 = cell(DT1)<<8 | cell(Sta6)
	dt02 = cell(DT2)<<8 | cell(Sta6)
)

// table is PS3.8 Table 9-10, a row for each event from Evt1.
func table() [Events]row {
	return [Events]row{
		//                       Sta1  Sta2  Sta3  Sta4  Sta5  Sta6  Sta7  Sta8  Sta9  Sta10 Sta11 Sta12 Sta13
		AssociateRequest - 1:    {ae01, none, none, none, none, none, none, none, none, none, none, none, none},
		TransportConfirmed - 1:  {none, none, none, ae02, none, none, none, none, none, none, none, none, none},
		ReceivedAssociateAC - 1: {none, aa01, aa08, none, ae03, aa08, aa08, aa08, aa08, aa08, aa08, aa08, aa06},
		ReceivedAssociateRJ - 1: {none, aa01, aa08, none, ae04, aa08, aa08, aa08, aa08, aa08, aa08, aa08, aa06},
		TransportIndication - 1: {ae05, none, none, none, none, none, none, none, none, none, none, none, none},
		ReceivedAssociateRQ - 1: {none, ae06, aa08, none, aa08, aa08, aa08, aa08, aa08, aa08, aa08, aa08, aa07},
		AcceptResponse - 1:      {none, none, ae07, none, none, none, none, none, none, none, none, none, none},
		RejectResponse - 1:      {none, none, ae08, none, none, none, none, none, none, none, none, none, none},
		DataRequest - 1:         {none, none, none, none, none, dt01, none, ar07, none, none, none, none, none},
		ReceivedData - 1:        {none, aa01, aa08, none, aa08, dt02, ar06, aa08, aa08, aa08, aa08, aa08, aa06},
		ReleaseRequest - 1:      {none, none, none, none, none, ar01, none, none, none, none, none, none, none},
		ReceivedReleaseRQ - 1:   {none, aa01, aa08, none, aa08, ar02, ar08, aa08, aa08, aa08, aa08, aa08, aa06},
		ReceivedReleaseRP - 1:   {none, aa01, aa08, none, aa08, aa08, ar03, aa08, aa08, ar10, ar03, aa08, aa06},
		ReleaseResponse - 1:     {none, none, none, none, none, none, none, ar04, ar09, none, none, ar04, none},
		AbortRequest - 1:        {none, none, aa01, aa02, aa01, aa01, aa01, aa01, aa01, aa01, aa01, aa01, none},
		ReceivedAbort - 1:       {none, aa02, aa03, none, aa03, aa03, aa03, aa03, aa03, aa03, aa03, aa03, aa02},
		TransportClosed - 1:     {none, aa05, aa04, aa04, aa04, aa04, aa04, aa04, aa04, aa04, aa04, aa04, ar05},
		TimerExpired - 1:        {none, aa02, none, none, none, none, none, none, none, none, none, none, aa02},
		ReceivedInvalid - 1:     {none, aa01, aa08, none, aa08, aa08, aa08, aa08, aa08, aa08, aa08, aa08, aa07},
	}
}
