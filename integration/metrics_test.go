package integration

// Names of the daemon's metrics that the tests read.
const (
	droppedRecords   = "logmule_queue_lost_records_total" // by reason
	truncatedRecords = "logmule_input_truncated_records_total"
	openConnections  = "logmule_input_connections"
	lostRecords      = "logmule_output_lost_records_total"
	backlogRecords   = "logmule_output_backlog_records"
)
