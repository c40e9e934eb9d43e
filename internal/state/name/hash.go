package name

import (
	"crypto/sha512"
	"encoding/hex"
)

// Hash spreads a text over 16 bytes, any of which can serve as a name. It is the
// beginning of the hash by which upstream's plugins name things.
func Hash(text string) [16]byte {
	sum := sha512.Sum512([]byte(text))
	return [16]byte(sum[:])
}

// Digits is Hash as 32 hexadecimal digits.
func Digits(text string) string {
	h := Hash(text)
	return hex.EncodeToString(h[:])
}
