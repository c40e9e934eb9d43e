package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/catena-cni/catena/internal/cni/conf"
)

// Error codes of the CNI specification, and from 100 on our own.
const (
	CodeVersion     = types.ErrIncompatibleCNIVersion // 1
	CodeUnsupported = types.ErrUnsupportedField       // 2
	CodeEnvironment = types.ErrInvalidEnvironmentVariables
	CodeIO          = types.ErrIOFailure
	CodeDecode      = types.ErrDecodingFailure
	CodeConfig      = types.ErrInvalidNetworkConfig
	CodeNetns       = types.ErrInvalidNetNS
	CodeTryAgain    = types.ErrTryAgainLater

	// CodeNotReady: STATUS, no pod can be attached now.
	CodeNotReady uint = 50

	// CodeFailed is every failure that has no code of its own.
	CodeFailed uint = 100
	// CodeExists: something of that name is there already.
	CodeExists uint = 101
	// CodeMissing: something that is needed is not there.
	CodeMissing uint = 102
	// CodePermission: the kernel or a filesystem refused.
	CodePermission uint = 103
	// CodeDrift: CHECK found what is not as it was made.
	CodeDrift uint = 104
)

// Error is an error as the specification wants it printed.
type Error = types.Error

// Errorf is an error with a code of the specification.
func Errorf(code uint, format string, args ...any) error {
	return coded{code, fmt.Errorf(format, args...)}
}

// WithCode gives an error a code. A nil error stays nil, and an error that has
// a code keeps it.
func WithCode(code uint, err error) error {
	var have coded
	var printed *Error
	if err == nil || errors.As(err, &have) || errors.As(err, &printed) {
		return err
	}
	return coded{code, err}
}

type coded struct {
	code uint
	error
}

func (c coded) Unwrap() error { return c.error }

// Hint adds to an error what to look at or do next. It is printed as the
// error's details.
func Hint(err error, next string) error {
	if err == nil {
		return nil
	}
	return hinted{err, next}
}

type hinted struct {
	error
	next string
}

func (h hinted) Unwrap() error { return h.error }

// Taken is an error of the class os.ErrExist: a sentence that says what is in the
// way and whose it is. It needs nothing before it or behind.
func Taken(format string, args ...any) error { return taken(fmt.Sprintf(format, args...)) }

// Attached is Taken for what an attachment has from a former ADD.
func Attached(format string, args ...any) error {
	return Hint(Taken(format, args...), details[CodeExists])
}

// IsTaken reports whether there is such an error in it.
func IsTaken(err error) bool {
	var t taken
	return errors.As(err, &t)
}

type taken string

func (t taken) Error() string      { return string(t) }
func (taken) Is(target error) bool { return target == fs.ErrExist }

// Alone keeps the words of a class, which are left out of a message where words
// of one's own say it better: nothing else says it here.
func Alone(err error) error {
	if err == fs.ErrExist || err == fs.ErrNotExist {
		return alone{err}
	}
	return err
}

type alone struct{ error }

func (a alone) Unwrap() error { return a.error }

// Concerning adds to an error what it is about where that is too long for its
// text. It is printed behind the error's details.
func Concerning(err error, what string) error { return concerning{err, what} }

type concerning struct {
	error
	what string
}

func (c concerning) Unwrap() error { return c.error }

// concerns are those of an error and of all that it is made of.
func concerns(err error) (all []string) {
	switch e := err.(type) {
	case concerning:
		return append(concerns(e.error), e.what)
	case interface{ Unwrap() error }:
		return concerns(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			all = append(all, concerns(one)...)
		}
	}
	return all
}

// AsError turns any error into one that can be printed: its code, its text,
// and what to do next.
func AsError(err error) *Error {
	var printed *Error
	if e, ok := err.(*Error); ok {
		return e
	}
	e := &Error{Code: codeOf(err), Msg: oneLine(err)}
	var h hinted
	switch {
	case errors.As(err, &h):
		e.Details = h.next
	case errors.As(err, &printed):
		e.Details = printed.Details
	default:
		e.Details = details[e.Code]
	}
	if what := concerns(err); len(what) > 0 {
		e.Details = strings.TrimPrefix(e.Details+"; it is about: ", "; ") + strings.Join(what, "; ")
	}
	e.Details = cut(e.Details, textMax)
	return e
}

// textMax is what an error says at most of an input that may be megabytes, in bytes.
const textMax = 2 << 10

// cut leaves out the middle of a long text: what it is about stands at the
// beginning, and the cause at the end.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	begin, end := text[:most/2], text[len(text)-most/2:]
	return strings.ToValidUTF8(begin, "") + fmt.Sprintf("… (%d bytes) …", len(text)-most) + strings.ToValidUTF8(end, "")
}

// oneLine is an error's text for the one line that logs give it. What ADD and
// what it takes back fail of alike is said once. What package fs
// says of the two classes that codeOf looks for follows words that say it better.
func oneLine(err error) string {
	text := strings.Join(slices.Compact(strings.Split(err.Error(), "\n")), "; ")
	var only alone
	for _, class := range []error{fs.ErrExist, fs.ErrNotExist} {
		if errors.Is(err, class) && !(errors.As(err, &only) && only.error == class) {
			text = strings.ReplaceAll(text, ": "+class.Error(), "")
		}
	}
	return cut(strings.Map(visible, text), textMax)
}

// visible keeps the reader's terminal from doing what an input says.
func visible(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case unicode.IsControl(r):
		return unicode.ReplacementChar
	}
	return r
}

// codeOf is the one place where causes become codes.
func codeOf(err error) uint {
	var c coded
	var printed *Error
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &printed):
		return printed.Code
	case errors.Is(err, conf.ErrSyntax), errors.Is(err, conf.ErrType):
		return CodeDecode
	case errors.Is(err, conf.ErrKey):
		return CodeUnsupported
	case errors.Is(err, conf.ErrValue):
		return CodeConfig
	case errors.Is(err, fs.ErrPermission):
		return CodePermission
	case errors.Is(err, fs.ErrExist):
		return CodeExists
	case errors.Is(err, fs.ErrNotExist):
		return CodeMissing
	case errors.Is(err, os.ErrDeadlineExceeded):
		return CodeTryAgain
	}
	return CodeFailed
}

// details says what to look at for a code whose error brought no hint.
var details = map[uint]string{
	CodeUnsupported: "run the plugin with the argument 'schema' to see what it takes",
	CodeDecode:      "the configuration is the plugin's standard input; run the plugin with the argument 'schema' to see what it takes",
	CodeConfig:      "run the plugin with the argument 'schema' to see what it takes",
	CodePermission:  "a plugin needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, and a writable /proc/sys",
	CodeExists:      "a container is detached (DEL) before it is attached again",
}

// printedError is the specification's error object. The library's type has no
// cniVersion, which the specification wants.
type printedError struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

// versionMax is longer than any version is, in bytes.
const versionMax = 40

// PrintError gives the JSON text of an error.
func PrintError(version string, err error) []byte {
	e := AsError(err)
	text, _ := json.MarshalIndent(printedError{cut(version, versionMax), e.Code, e.Msg, e.Details}, "", "    ")
	return append(text, '\n')
}

// ErrNoPrevResult is the error of a CHECK that has nothing to compare with.
var ErrNoPrevResult = Hint(Errorf(CodeConfig, "CHECK needs the prevResult that the ADD ended with"),
	"a runtime keeps it and hands it over; by hand, put what ADD has printed into the configuration, as prevResult")
