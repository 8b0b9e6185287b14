package damage

const (
	crashStates = "integration/states.TestStates"
	powerLoss   = "integration/torture.TestPowerLoss"
	badDisks    = "integration/torture.TestBadDisks"
)

// elsewhereRows are the rows of the list that other tests show.
var elsewhereRows = []elsewhere{
	{1, "kill -9 under load", "all acknowledged records are there; what was in flight may come again", []string{"integration.TestKillDuringIngest", "integration.TestBatchIDsSurviveKills"}},
	{2, "power lost at every operation", "the same, and every start is by itself", []string{crashStates, powerLoss, "integration/torture.TestImages"}},
	{18, "frames of a file that was used before", "files are never used again, so there are none", nil},
	{24, "adopting a file by hand", "there is no such command: a file is what its header says, or its trailer", nil},
	{30, "the open segment is deleted while the daemon runs", "that is seen before anything more is acknowledged, and its records get a file again: nothing is lost", []string{"integration/damage.TestDeletedWhileRunning"}},
	{31, "a segment is made, its directory entry is lost", "cannot happen to acknowledged records: the directory is synced first", []string{crashStates, powerLoss}},
	{32, "two segments that begin with the same sequence", "the later start counts, and within a start the one that names the other as its previous; the other one's frames were superseded. A segment of another life of the queue, brought back after its sequences were given again, is moved to quarantine, and log and ledger say which records are in it", []string{"recovery.TestStrayTakesNothing", "queue.TestStrayGoesFirst", "recovery.TestOtherLife"}},
	{33, "a file that has the name of a segment and is none of this queue", "moved to quarantine; its name says nothing about others", []string{"recovery.TestNameProvesNothing", "queue.TestOldNames"}},
	{34, "a stranger, a link, a directory or a pipe among the segments", "left alone, with a note", []string{"recovery.TestStrangers", "queue/vfs.TestOpenRefusesWhatIsNoRegularFile"}},
	{46, "a crash between a position and the deletion that it allows", "deleted by the next start", []string{crashStates, "queue.TestDeletionsAreDurableInOrder"}},
	{47, "a crash at each step of a seal, a healing, a quarantine", "finished by the next start, with the same outcome", []string{"queue/segment.TestPowerLossAtEveryOperation", "recovery.TestStartCrash", "recovery.TestHealCrash", crashStates}},
	{48, "a crash at each operation of fsck --repair", "the next run comes to the same end", []string{"recovery.TestRepairCrash"}},
	{49, "fsck while a daemon has the queue", "reading is allowed, and what is not durable yet not judged; a repair ends with 8", []string{"recovery.TestCheckLive", "recovery.TestCheckMoving", "recovery.TestRepairLocked", "integration.TestRepairAndDeliver"}},
	{50, "two daemons on one queue", "the second one refuses, and says who has it", []string{"queue.TestLocked", "integration.TestSecondRunOnTheSameData"}},
	{51, "EIO from fdatasync, once", "nothing is acknowledged until it stands in another segment", []string{"queue.TestFailedSync", badDisks}},
	{52, "EIO from every fdatasync", "nothing is acknowledged, senders wait, the process lives and goes on afterwards", []string{"queue.TestFaultyDisk", badDisks}},
	{53, "EIO, then a crash", "as 51 and 2", []string{crashStates, powerLoss}},
	{54, "a block that cannot be read", "healed from the parity, else asked for again, at last a loss", []string{"queue.TestReaderHealsUnreadable", "recovery.TestHealUnreadable", "queue.TestUnreadableSectors"}},
	{55, "a full disk: at any operation", "when_full decides, and it ends by itself when there is room", []string{"queue.TestDiskFull", "integration.TestFullDiskBlocks", badDisks}},
	{56, "a full disk and drop_oldest", "what is dropped is in the ledger by exact numbers, the newest is kept", []string{"queue.TestDroppedIsExact", "integration.TestFullDiskDropsOldest", crashStates}},
	{57, "EDQUOT, EROFS, a file system that goes away", "senders wait, and health says why", []string{badDisks, "queue.TestDiskAwayForAWhile"}},
	{58, "no inodes left", "as 55", []string{badDisks}},
	{59, "short writes, EINTR", "the frames are right", []string{"queue/segment.TestFailedWriteMayBeRepeated", "queue/vfs.TestRetryEndsWithAnythingButEINTR", badDisks}},
	{60, "the clock jumps", "sequences decide, never the clock", []string{"recovery.TestStrayTakesNothing", "forward/input/tail.TestClockSetBack"}},
	{61, "records of 0 bytes, 1 byte, the most and one more", "stored, or refused with a reason", []string{"integration/torture.TestRecordsAtEveryLimit", "queue.TestTooLargeIsRefusedAtOnce"}},
	{62, "bytes that are no text: zeros, line ends, broken UTF-8", "come out as they went in", []string{"integration/chaos.TestBytesPassAsTheyAre"}},
	{64, "a start with gigabytes of backlog", "as fast as with none: two segments are read", []string{"integration.TestBacklog"}},
	{65, "an output that is stuck, and then removed", "no other one waits; it is forgotten after forget_after", []string{"integration.TestDeadOutputDelaysNobody", "queue.TestForgetAfter"}},
	{66, "batches accepted out of order, then a crash", "only what was not done comes again", []string{"forward.TestInFlightModel", "forward.TestInFlightOvertakes"}},
	{67, "kills on both sides of a hop", "each record arrives once where the destination drops batches that it has seen", []string{"integration.TestBatchIDsSurviveKills"}},
	{68, "a segment of a newer version", "left alone, and said loudly; a repair touches nothing", []string{"recovery.TestNewerFormat", "queue/segment.TestUnknownFeatures"}},
	{69, "a machine of another byte order", "the format is little-endian, and a file of it is in the tests", []string{"queue/segment.TestGoldenFileIsRead", "queue/segment.TestDocExample"}},
	{70, "a thousand starts that end at once", "no segments pile up, no number is given twice", []string{"queue.TestEmptyStarts"}},
	{71, "a byte altered between memory and the disk", "the index and the parity are counted from memory, so that a sealed segment heals it: as 7; before that: as 8", []string{"queue/segment.TestHealsAllThatCanBe"}},
	{73, "an old trailer at the end of a file that is used again", "files are never used again", nil},
	{74, "anything at once, by chance", "all that is said above this table holds", []string{"integration/damage.TestDestruction", "integration/damage.TestEveryByte"}},
}
