package dimse

import "github.com/esante-alsace/cigogne/gateway/dimse/pdu"

// queryOptions are what the extended negotiation of a SOP class for C-FIND
// agreed upon (PS3.4 §C.5.1.1). Combined matching of date and time, and what
// follows in it, are declined; so is all that is asked of C-MOVE and C-GET.
type queryOptions struct {
	relational bool // unique keys above the level need not be there
	fuzzy      bool // fuzzy semantic matching of person names
}

// The places of the options in the Service-class-application-information.
const (
	optionRelational = 0
	optionFuzzy      = 2
)

// askedOptions are those of each SOP class that was asked for options.
func askedOptions(asked []pdu.ExtendedNegotiation) map[string]queryOptions {
	options := map[string]queryOptions{}
	for _, e := range asked {
		if e.SOPClassUID == PatientRootFind || e.SOPClassUID == StudyRootFind {
			at := func(i int) bool { return i < len(e.Information) && e.Information[i] == 1 }
			options[e.SOPClassUID] = queryOptions{relational: at(optionRelational), fuzzy: at(optionFuzzy)}
		}
	}
	return options
}

// granted answers the extended negotiation for what was accepted, option by
// option. Without an answer nothing was agreed upon.
func granted(asked []pdu.ExtendedNegotiation, contexts map[byte]presentation) []pdu.ExtendedNegotiation {
	var answers []pdu.ExtendedNegotiation
	all := askedOptions(asked)
	for _, e := range asked {
		options, ok := all[e.SOPClassUID]
		if !ok || !open(contexts, e.SOPClassUID) {
			continue
		}
		delete(all, e.SOPClassUID) // one answer, however often it was asked
		information := make([]byte, optionFuzzy+1)
		if options.relational {
			information[optionRelational] = 1
		}
		if options.fuzzy {
			information[optionFuzzy] = 1
		}
		answers = append(answers, pdu.ExtendedNegotiation{SOPClassUID: e.SOPClassUID, Information: information})
	}
	return answers
}

func open(contexts map[byte]presentation, abstractSyntax string) bool {
	for _, pc := range contexts {
		if pc.abstractSyntax == abstractSyntax {
			return true
		}
	}
	return false
}
