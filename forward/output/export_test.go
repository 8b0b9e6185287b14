package output

import "time"

// Outdate makes an output of datagrams look its address up again.
func Outdate(o Output) { o.(*datagrams).dialed = time.Time{} }
