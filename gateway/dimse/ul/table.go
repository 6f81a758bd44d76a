package ul

// cell is an action and the state that follows.
type cell struct {
	action Action
	next   State
}

// row is a line of PS3.8 Table 9-10: one cell for each state from Sta1.
type row [States]cell

// Step is PS3.8 Table 9-10. Where the table names two states, it returns the
// first: Sta3 after AE-6, Sta9 after AR-8. An empty cell is None and leaves
// the state as it is, as do numbers that are no state or event.
func Step(state State, event Event) (next State, action Action) {
	if state < Sta1 || state > Sta13 {
		return state, None
	}
	c := table(event)[state-Sta1]
	if c.action == None {
		return state, None
	}
	return c.next, c.action
}

func table(event Event) row {
	var (
		____ = cell{}
		aa1_ = cell{AA1, Sta13}
		aa2_ = cell{AA2, Sta1}
		aa3_ = cell{AA3, Sta1}
		aa4_ = cell{AA4, Sta1}
		aa5_ = cell{AA5, Sta1}
		aa6_ = cell{AA6, Sta13}
		aa7_ = cell{AA7, Sta13}
		aa8_ = cell{AA8, Sta13}
		ae1_ = cell{AE1, Sta4}
		ae2_ = cell{AE2, Sta5}
		ae3_ = cell{AE3, Sta6}
		ae4_ = cell{AE4, Sta1}
		ae5_ = cell{AE5, Sta2}
		ae6_ = cell{AE6, Sta3}
		ae7_ = cell{AE7, Sta6}
		ae8_ = cell{AE8, Sta13}
		ar1_ = cell{AR1, Sta7}
		ar2_ = cell{AR2, Sta8}
		ar3_ = cell{AR3, Sta1}
		ar4_ = cell{AR4, Sta13}
		ar5_ = cell{AR5, Sta1}
		ar6_ = cell{AR6, Sta7}
		ar7_ = cell{AR7, Sta8}
		ar8_ = cell{AR8, Sta9}
		ar9_ = cell{AR9, Sta11}
		ar10 = cell{AR10, Sta12}
		dt1_ = cell{DT1, Sta6}
		dt2_ = cell{DT2, Sta6}
	)
	switch event {
	//                          Sta1  Sta2  Sta3  Sta4  Sta5  Sta6  Sta7  Sta8  Sta9  Sta10 Sta11 Sta12 Sta13
	case AssociateRequest:
		return row{ae1_, ____, ____, ____, ____, ____, ____, ____, ____, ____, ____, ____, ____}
	case TransportConfirmed:
		return row{____, ____, ____, ae2_, ____, ____, ____, ____, ____, ____, ____, ____, ____}
	case ReceivedAssociateAC:
		return row{____, aa1_, aa8_, ____, ae3_, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa6_}
	case ReceivedAssociateRJ:
		return row{____, aa1_, aa8_, ____, ae4_, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa6_}
	case TransportIndication:
		return row{ae5_, ____, ____, ____, ____, ____, ____, ____, ____, ____, ____, ____, ____}
	case ReceivedAssociateRQ:
		return row{____, ae6_, aa8_, ____, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa7_}
	case AcceptResponse:
		return row{____, ____, ae7_, ____, ____, ____, ____, ____, ____, ____, ____, ____, ____}
	case RejectResponse:
		return row{____, ____, ae8_, ____, ____, ____, ____, ____, ____, ____, ____, ____, ____}
	case DataRequest:
		return row{____, ____, ____, ____, ____, dt1_, ____, ar7_, ____, ____, ____, ____, ____}
	case ReceivedData:
		return row{____, aa1_, aa8_, ____, aa8_, dt2_, ar6_, aa8_, aa8_, aa8_, aa8_, aa8_, aa6_}
	case ReleaseRequest:
		return row{____, ____, ____, ____, ____, ar1_, ____, ____, ____, ____, ____, ____, ____}
	case ReceivedReleaseRQ:
		return row{____, aa1_, aa8_, ____, aa8_, ar2_, ar8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa6_}
	case ReceivedReleaseRP:
		return row{____, aa1_, aa8_, ____, aa8_, aa8_, ar3_, aa8_, aa8_, ar10, ar3_, aa8_, aa6_}
	case ReleaseResponse:
		return row{____, ____, ____, ____, ____, ____, ____, ar4_, ar9_, ____, ____, ar4_, ____}
	case AbortRequest:
		return row{____, ____, aa1_, aa2_, aa1_, aa1_, aa1_, aa1_, aa1_, aa1_, aa1_, aa1_, ____}
	case ReceivedAbort:
		return row{____, aa2_, aa3_, ____, aa3_, aa3_, aa3_, aa3_, aa3_, aa3_, aa3_, aa3_, aa2_}
	case TransportClosed:
		return row{____, aa5_, aa4_, aa4_, aa4_, aa4_, aa4_, aa4_, aa4_, aa4_, aa4_, aa4_, ar5_}
	case TimerExpired:
		return row{____, aa2_, ____, ____, ____, ____, ____, ____, ____, ____, ____, ____, aa2_}
	case ReceivedInvalid:
		return row{____, aa1_, aa8_, ____, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa8_, aa7_}
	default:
		return row{}
	}
}
