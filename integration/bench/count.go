package main

type counted struct{}

func count(o options) ([]counted, error) { return nil, nil }
func countTable([]counted) string { return "" }
func (r report) plot() string { return "" }
func empty(string) (*contender, error) { return nil, nil }
func warm() (*contender, error) { return nil, nil }
