// Package admin answers an operator's questions: the four-letter words on the
// client port and the metrics on their own, in Apache's layout and under
// Apache's names, which monitoring parses. It reads the node and changes
// nothing but the counters that srst and crst reset.
package admin
