// Package house holds the rules of the architecture as tests: which room may
// import which, what each binary is made of, and how the code speaks. A rule's
// reason stands in the test's failure.
package house
