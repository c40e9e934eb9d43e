package nft

// profile is a way to treat host ports that differs from the default: its own
// sets, its own chain, and its own bit of the mark. It is static for all who
// ask for the same.
type profile struct {
	// Suffix of the names of its sets and its chain: a hash of the rest.
	Suffix string `json:"suffix"`
	// MarkBit says which bit of the mark asks for masquerading.
	MarkBit int `json:"markBit"`
	// V4 and V6 are conditions in the nft program's words.
	V4 []string `json:"v4,omitempty"`
	V6 []string `json:"v6,omitempty"`
}

func (p *profile) static(*table) []message { return nil }
