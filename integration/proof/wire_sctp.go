package main

import (
	"encoding/binary"
	"hash/crc32"
)

// sctpPacket is an SCTP packet of one chunk, INIT or INIT ACK (RFC 9260 section 3.3.2). The answer's text is its cookie.
type sctpPacket struct {
	from, to uint16
	tag      uint32 // of the receiver
	chunk    byte
	text     string
}

const (
	sctpInit, sctpInitAck = 1, 2
	sctpHeader, initChunk = 12, 20
	cookie                = 7 // type of the parameter
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bytes has the source port as the sender's tag.
func (p sctpPacket) bytes() []byte {
	b := make([]byte, sctpHeader, sctpHeader+initChunk+4+len(p.text))
	binary.BigEndian.PutUint16(b, p.from)
	binary.BigEndian.PutUint16(b[2:], p.to)
	binary.BigEndian.PutUint32(b[4:], p.tag)
	length := uint16(initChunk)
	if p.text != "" {
		length += 4 + uint16(len(p.text))
	}
	b = append(b, p.chunk, 0)
	b = binary.BigEndian.AppendUint16(b, length)
	b = binary.BigEndian.AppendUint32(b, uint32(p.from))
	b = binary.BigEndian.AppendUint32(b, 1<<16) // window
	b = binary.BigEndian.AppendUint16(b, 1)     // streams out
	b = binary.BigEndian.AppendUint16(b, 1)     // and in
	b = binary.BigEndian.AppendUint32(b, 1)     // sequence
	if p.text != "" {
		b = binary.BigEndian.AppendUint16(b, cookie)
		b = binary.BigEndian.AppendUint16(b, 4+uint16(len(p.text)))
		b = append(b, p.text...)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b
}

// readSCTP refuses what has another checksum than its own. The tag is the sender's.
func readSCTP(b []byte) (p sctpPacket, ok bool) {
	if len(b) < sctpHeader+initChunk {
		return p, false
	}
	sum := binary.LittleEndian.Uint32(b[8:])
	binary.LittleEndian.PutUint32(b[8:], 0)
	p = sctpPacket{from: binary.BigEndian.Uint16(b), to: binary.BigEndian.Uint16(b[2:]), chunk: b[12], tag: binary.BigEndian.Uint32(b[16:])}
	length := int(binary.BigEndian.Uint16(b[14:]))
	if p.chunk == sctpInitAck && length > initChunk+4 && sctpHeader+length <= len(b) {
		p.text = string(b[sctpHeader+initChunk+4 : sctpHeader+length])
	}
	return p, crc32.Checksum(b, castagnoli) == sum
}
