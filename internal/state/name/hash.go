package name

import (
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
)

// Hash spreads a text over 16 bytes, any of which can serve as a name. It is
// FNV-1a with a last mixing step, and not cryptographic: what it names carries
// its text besides, as an alias, a comment or a record, and is not taken for
// somebody else's. A cryptographic hash would be a tenth of a plugin's start
// and of its size.
func Hash(text string) (out [16]byte) {
	h := fnv.New128a()
	_, _ = h.Write([]byte(text))
	sum := h.Sum(nil)
	high, low := binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])
	binary.BigEndian.PutUint64(out[:], mix(high+mix(low)))
	binary.BigEndian.PutUint64(out[8:], mix(low^mix(high)))
	return out
}

// Digits is Hash as 32 hexadecimal digits.
func Digits(text string) string {
	h := Hash(text)
	return hex.EncodeToString(h[:])
}

// mix makes every bit of a number depend on every other (the finalizer of
// MurmurHash3).
func mix(n uint64) uint64 {
	n ^= n >> 33
	n *= 0xff51afd7ed558ccd
	n ^= n >> 33
	n *= 0xc4ceb9fe1a85ec53
	return n ^ n>>33
}
