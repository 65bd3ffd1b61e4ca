// Package config makes a typed configuration of zoo.cfg and its friends.
//
// The file is read as Apache reads it: Java properties in ISO-8859-1, server.N
// lines in every notation, myid from the data directory. A value comes from a
// flag, the environment, the file or a -D property, and keeps where it came
// from, so that every complaint names the file and line, the variable or the
// flag. A wrong value is an error; a key that nothing reads is a warning, since
// Apache takes any key and many files carry one that only it knows.
//
// Reading flags and the environment is the business of the command; what a key
// does is the business of the package that reads its field.
package config
