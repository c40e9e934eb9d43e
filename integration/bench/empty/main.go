// Command empty does nothing. What it takes to run it is the least that any plugin takes.
package main

func main() {}
