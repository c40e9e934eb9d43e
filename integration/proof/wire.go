package main

// wire looks at what is seen on the wire: every packet is a real one, and what must not arrive is known by what arrives
// behind it.
func wire(p *proof) (rows []row, err error) {
	for _, some := range []func(*proof) ([]row, error){hostPorts, martians, flows, spoofed, apart, advertised} {
		more, err := some(p)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}
