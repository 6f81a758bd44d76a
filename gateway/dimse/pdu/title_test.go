package pdu

import "testing"

// TestAETitles: a title is text, and is sent as it came.
func TestAETitles(t *testing.T) {
	for sent, text := range map[string]string{
		" HTP_PACS        ":   "HTP_PACS",
		"HTP PACS\x00\x00":    "HTP PACS",
		"RADIO_H\xe9":         "RADIO_Hé",
		"RADIO_Hé":            "RADIO_Hé",
		"\xc3\xa9":            "é",
		"Ã©":                  "Ã©",
		"\x80\xff":            "\u0080ÿ",
		"Łódź":                "Łódź",
		"":                    "",
		"0123456789ABCDE\xe9": "0123456789ABCDEé",
	} {
		got := Title([]byte(sent))
		if got != text {
			t.Errorf("%q is %q, want %q", sent, got, text)
		}
		if again := Title(appendAETitle(nil, got)); again != text {
			t.Errorf("%q was sent as %q", text, again)
		}
	}
}
