package circuit

// CheckFds for the tests outside the package.
var CheckFds = checkFds
